"""Which of many processes this is, where somebody else's launcher has started them all, one a device."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops.process_environment import IN_WORKER


class RankIsolated(NimbleError):
    """What one rank alone knows: it cannot meet the others, or the first is gone. It has to say so itself."""

    GONE = "rank 0 is gone, and the run with it. Why is in its output, and in the log.txt of the run folder."


@dataclass(frozen=True)
class Launcher:
    """How somebody tells the processes he starts which of them they are: the names of his variables.

    Attributes:
        name: For people.
        rank: Of a process among all, and so on; an unset `local_rank` means one process a machine.
        needs: What has to be there as well, or the others were set by somebody else.
        job: What is the same in all processes of a start, and in no other start.
    """

    name: str
    rank: str
    size: str
    local_rank: str
    local_size: str
    needs: tuple[str, ...] = ()
    job: tuple[str, ...] = ()


_TORCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
TORCHRUN = Launcher("torchrun", *_TORCH, needs=("TORCHELASTIC_RUN_ID",))
_BY_HAND = Launcher("RANK and WORLD_SIZE", *_TORCH, needs=("MASTER_ADDR", "MASTER_PORT"))
_OPEN_MPI = Launcher(
    "mpirun",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    job=("PMIX_NAMESPACE", "PMIX_SERVER_TMPDIR"),
)
# MPICH and Intel MPI.
_HYDRA = Launcher(
    "mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS", needs=("MPI_LOCALRANKID",)
)
# Those of a step: a batch script has the variables of its job as well, and is one process.
_SRUN = Launcher(
    "srun",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_LOCALID",
    "SLURM_STEP_TASKS_PER_NODE",
    job=("SLURM_JOB_ID", "SLURM_STEP_ID"),
)
# From the inside out: any of them may have been started by one that stands below it.
_LAUNCHERS = (TORCHRUN, _BY_HAND, _OPEN_MPI, _HYDRA, _SRUN)


@dataclass(frozen=True)
class Ranks:
    """This process among all of its run.

    Attributes:
        launcher: Who started them.
        rank: Of this process among all.
        size: How many there are.
        local_rank: Of this process on its machine.
        local_size: How many there are on each machine.
    """

    launcher: Launcher
    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def first(self) -> bool:
        """Whether this one decides and speaks for all."""
        return self.rank == 0

    @property
    def machines(self) -> int:
        return self.size // self.local_size

    def start(self) -> str:
        """What names this start on its machine, and no other one."""
        named = [os.environ.get(name, "") for name in self.launcher.job]
        # Who started us is the same process for all of us, and its number is used again only later.
        words = named if all(named[:1]) and named else [str(os.getppid()), _birth_of(os.getppid())]
        return hashlib.sha256(" ".join([self.launcher.name, *words]).encode()).hexdigest()[:16]


def around(launch: str) -> Ranks | None:
    """The ranks this process is one of; None where its run is to have workers of its own.

    Args:
        launch: The name of what was chosen of the group `launch`.

    Raises:
        RequestError: Somebody else's launcher was chosen and there is none, or there is one and the run was
            to be in one process.
    """
    if launch == "inline" and (ranks := found()) is not None:
        raise RequestError(
            f"A run in one process was asked for (launch=inline, or an object for nl.run), and "
            f"{ranks.launcher.name} started {ranks.size}. Leave launch= out, and give nl.run the class."
        )
    if launch not in ("local", "torchrun"):
        return None
    ranks = found(least=1 if launch == "torchrun" else 2)
    if ranks is None and launch == "torchrun":
        raise RequestError(
            "launch=torchrun: neither torchrun nor mpirun nor srun has started this process. Ask it to: "
            "torchrun --nproc-per-node 2 -m nimble_lightning ..., or leave launch= out."
        )
    return ranks


def found(environment: Mapping[str, str] | None = None, least: int = 2) -> Ranks | None:
    """What the variables of the environment say; None where nobody has set them.

    Args:
        environment: That of this process by default.
        least: So many processes make it somebody's group; torchrun's are one at any size.

    Raises:
        RequestError: They contradict each other.
    """
    variables = os.environ if environment is None else environment
    if variables.get(IN_WORKER):
        return None
    for launcher in _LAUNCHERS:
        if all(variables.get(name) for name in (launcher.rank, launcher.size, *launcher.needs)):
            ranks = _read(launcher, variables)
            # One task a machine starts the workers of that machine.
            supervises = launcher is _SRUN and ranks.local_size == 1
            return ranks if (ranks.size >= least or launcher is TORCHRUN) and not supervises else None
    return None


def starts_before() -> int:
    """How often the launcher has started its processes again; only torchrun does, and says so."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def starts_left() -> int:
    """How often it still may."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) - starts_before()


def _read(launcher: Launcher, variables: Mapping[str, str]) -> Ranks:
    alone = launcher.local_rank not in variables
    names = launcher.rank, launcher.size, launcher.local_rank, launcher.local_size
    values = [variables.get(name, "") for name in names]
    if alone and launcher.local_size not in variables:
        values[2:] = "0", "1"
    # Slurm writes 2(x3) for three machines with two each.
    values[3] = re.sub(r"\(x\d+\)$", "", values[3])
    if not all(value.isdigit() for value in values):
        raise RequestError(
            f"The processes of {launcher.name} cannot be counted: "
            f"{', '.join(f'{n}={variables.get(n)}' for n in names)}. Expected a number each, and as many "
            "processes on every machine."
        )
    ranks = Ranks(launcher, *map(int, values))
    if not (ranks.rank < ranks.size and ranks.local_size > 0 and ranks.size % ranks.local_size == 0):
        raise RequestError(
            f"{launcher.name} says that this is rank {ranks.rank} of {ranks.size}, {ranks.local_size} on "
            "each machine. Expected as many on every machine, counted from 0."
        )
    return ranks


def _birth_of(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where nobody says."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    return facts.rpartition(")")[2].split()[19]
