"""What the batch script starts on every node: the supervisor of the run there."""

from __future__ import annotations

import os
import signal
import socket
import sys

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.launch.slurm import submit
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.runs.cluster import slurm_job
from nimble_lightning.runs.cluster.slurm_job import SlurmJob
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result

# What kills a supervisor is nothing that the run did; what kills each of so many is.
_MOST_STARTS = 3


def main(folder: str) -> int:
    """Run the job in a folder, and have it queued again if it was taken off its nodes."""
    os.environ[slurm_job.OURS] = "1"
    # Before the run listens there is nothing to commit, and afterwards nothing that may be cut short.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(ExitCode.TERMINATED))
    over, again = True, False
    try:
        result = _run(folder)
        code, message, again = result.exit_code, result.message, result.comes_back
        # Of several nodes one may have left before the run was over.
        over = bool(result.attempts)
    except SystemExit:
        code, message, again = ExitCode.TERMINATED, "stopped before it began", SlurmJob().comes_back()
    except NimbleError as error:
        code, message = ExitCode.of(error), str(error)
    print(message, file=sys.stderr if code else sys.stdout, flush=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if again:
        SlurmJob().queue_again()
    elif over:
        submit.note_end(folder, code, message)
    return code


def _run(folder: str) -> Result:
    try:
        job = Job.load(folder).with_changes({"launch": slurm_job.launch()})
    except RequestError as error:
        raise RequestError(
            f"{error}\nOn {socket.gethostname()}: is output_dir on a disk that all nodes share?"
        ) from None
    from nimble_lightning.launch.start import start

    return start(job)


def again_when_killed(folder: str) -> int:
    """The same in a process of its own, in another one when that is killed."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for _ in range(_MOST_STARTS):
        pid = os.fork()
        if pid == 0:
            return main(folder)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code != -signal.SIGKILL:
            break
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(again_when_killed(os.path.join(*sys.argv[1:])))
