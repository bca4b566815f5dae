"""Who runs a job: one class for each choice of the group `launch`, told apart by `name`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from nimble_lightning.errors import RequestError
from nimble_lightning.settings.fields import Natural, Positive, read


@dataclass(frozen=True, kw_only=True)
class Local:
    """Workers of their own on this machine, watched and started again by this command."""

    name: Literal["local"] = "local"

    jobs: Literal["auto"] | Positive = "auto"
    """Members of a sweep that run at once; "auto": as many as there are devices for."""


@dataclass(frozen=True, kw_only=True)
class Inline:
    """In this process, for debuggers and notebooks: nothing watches it, nothing is retried."""

    name: Literal["inline"] = "inline"


@dataclass(frozen=True, kw_only=True)
class External:
    """One rank of many that torchrun, mpirun or srun started, one a device."""

    name: Literal["torchrun"] = "torchrun"


@dataclass(frozen=True, kw_only=True)
class Multinode:
    """The same command on each of several machines that share the folder of the run."""

    name: Literal["multinode"] = "multinode"

    nnodes: Positive | str | None = None
    """How many machines: 2, or "2:4" for two at least and four at most; None: `lightning.num_nodes`."""

    rdzv_endpoint: str | None = None
    """HOST:PORT where they meet; the machine that HOST is serves the others."""

    join_timeout: Positive | str = "10m"
    """How long to wait for enough of them."""

    local_addr: str | None = None
    """By which address the others reach this machine; None: the one it reaches HOST from."""


@dataclass(frozen=True, kw_only=True)
class Slurm:
    """The run, or each member of a sweep, becomes a job of Slurm; one task a node starts its workers."""

    name: Literal["slurm"] = "slurm"

    jobs: Literal["auto"] | Positive = "auto"
    """Members of a sweep that run at once; "auto": as many as the cluster has room for, of a search four."""

    wait: Literal["auto"] | bool = "auto"
    """Whether this command waits for the end; "auto": for that of a sweep."""

    partition: str | None = None
    """As sbatch takes it, like all of the following; None leaves it to the cluster."""

    account: str | None = None

    qos: str | None = None

    nodes: Positive | str = 1

    gpus_per_node: Positive | str | None = None

    cpus_per_task: Positive | None = None

    mem: Positive | str | None = None

    time: Positive | str | None = None

    sbatch: Mapping[str, Any] | None = None
    """Any other option of sbatch."""

    setup: Sequence[str] = ()
    """Lines of shell that come first on the node."""

    requeue: bool = True
    """After a preemption, at its time limit and when a node fails, the job is queued again."""

    margin: Natural = 120
    """So many seconds before the time limit the run commits what it has."""


@dataclass(frozen=True, kw_only=True)
class Ray:
    """Each member of a sweep becomes a task of Ray."""

    name: Literal["ray"] = "ray"

    address: str | None = None
    """Where Ray runs: "auto", or HOST:PORT; None: it is started here, for as long as the sweep takes."""

    cpus: float = 1
    """What a member takes of what Ray has."""

    gpus: float = 0
    """The same; it sees no GPU but those it asks for."""

    jobs: Literal["auto"] | Positive = 4
    """Trials of a search that are proposed at once; of a grid, Ray runs what it has room for."""


Launch: TypeAlias = Local | Inline | Multinode | External | Slurm | Ray

LAUNCHERS: Mapping[str, type[Launch]] = {
    "local": Local,
    "inline": Inline,
    "multinode": Multinode,
    "torchrun": External,
    "slurm": Slurm,
    "ray": Ray,
}


def chosen_launch(given: Mapping[str, Any] | None) -> Launch:
    """The launcher that a composed configuration has under `launch`, with its settings.

    Raises:
        RequestError: There is none of that name.
    """
    name = str((given or {}).get("name", "local"))
    if name not in LAUNCHERS:
        raise RequestError(f"There is no launch.name={name}; there are {', '.join(LAUNCHERS)}")
    return read(LAUNCHERS[name], given)
