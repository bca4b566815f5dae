"""The batch script of a job: what is asked of Slurm, and one task a node."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.settings import Slurm

_ASKED = ("partition", "account", "qos", "nodes", "gpus_per_node", "cpus_per_task", "mem", "time")
# What makes a job end well, be queued again and leave one log.
_OURS = frozenset({"array", "error", "ntasks", "ntasks-per-node", "open-mode", "output", "requeue", "signal"})
# The task uses all that was allocated on its node, and ends by itself when others do.
_SRUN = ("srun", "--ntasks-per-node=1", "--cpu-bind=none", "--kill-on-bad-exit=0", "--wait=0")
# Slurm's number of a member in its array.
_MEMBER = '"$SLURM_ARRAY_TASK_ID"'


def batch_script(launch: Slurm, name: str, folder: Path, members: Sequence[int] = ()) -> str:
    """The text for sbatch.

    Args:
        launch: What is asked of Slurm.
        name: Of the job in the queue.
        folder: Of the run, or of a sweep, whose members' folders are numbered.
        members: Which of the sweep to run; none for a run by itself.

    Raises:
        RequestError: An option is set that is not the user's to set.
    """
    options = _options(launch, name)
    # In the name of a file a % of its own would stand for something else.
    place = Path(str(folder).replace("%", "%%"))
    options["output"] = place / ("%a" if members else "") / RunFolder(folder).said.name
    if members:
        most = "" if launch.jobs == "auto" else f"%{launch.jobs}"
        options["array"] = ",".join(map(str, members)) + most
    command = shlex.join([*_SRUN, sys.executable, "-m", "nimble_lightning.launch.slurm", str(folder)])
    lines = [
        "#!/bin/bash",
        *(line for key, value in options.items() if (line := _line(key, value))),
        *map(str, launch.setup or ()),
        # Slurm tells this shell as well when the job is to end; the tasks decide how.
        "trap : TERM",
        f"{command} {_MEMBER}" if members else command,
    ]
    return "\n".join(lines) + "\n"


def _options(launch: Slurm, name: str) -> dict[str, Any]:
    more = {str(key).lstrip("-").replace("_", "-"): value for key, value in (launch.sbatch or {}).items()}
    if taken := sorted(_OURS & more.keys()):
        raise RequestError(
            f"launch.sbatch.{taken[0]} is set by launch=slurm itself\n"
            "Its settings are launch.requeue, launch.margin and launch.jobs"
        )
    return {
        "job-name": name,
        **{key.replace("_", "-"): getattr(launch, key) for key in _ASKED},
        "ntasks-per-node": 1,
        # To the tasks, not to this script.
        "signal": f"TERM@{launch.margin}",
        "requeue" if launch.requeue else "no-requeue": True,
        "open-mode": "append",
        **more,
    }


def _line(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f"#SBATCH --{key}" + ("" if value is True else f"={shlex.quote(str(value))}")
