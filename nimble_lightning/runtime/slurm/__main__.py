"""What the batch script starts on every node: the supervisor of the run there."""

from __future__ import annotations

import os
import signal
import socket
import sys

from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.result import FAILED, REFUSED, TERMINATED
from nimble_lightning.runtime.slurm import allocation, submitting

# What kills a supervisor is nothing that the run did; what kills each of so many is.
_MOST_STARTS = 3


def main(folder: str) -> int:
    """Run the job in a folder, and have it queued again if it was taken off its nodes."""
    os.environ[allocation.OURS] = "1"
    # Before the run listens there is nothing to commit, and afterwards nothing that may be cut short.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(TERMINATED))
    try:
        code, again = _supervise(folder)
    except SystemExit:
        code, again = TERMINATED, allocation.comes_back()
    except NimbleError as error:
        print(f"error: {error}", file=sys.stderr)
        code, again = REFUSED if isinstance(error, RequestError) else FAILED, False
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if again:
        allocation.queue_again()
    else:
        submitting.note_end(folder, code)
    return code


def _supervise(folder: str) -> tuple[int, bool]:
    try:
        job = Job.load(folder)
    except RequestError as error:
        raise RequestError(
            f"{error}\nOn {socket.gethostname()}: is output_dir on a disk that all nodes share?"
        ) from None
    job.config.launch = allocation.launch()
    # Brings torch with it.
    from nimble_lightning.runtime.supervisor import supervise

    result = supervise(job)
    print(f"{job.run_id}: {result.message}", flush=True)
    return result.exit_code, result.comes_back


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
