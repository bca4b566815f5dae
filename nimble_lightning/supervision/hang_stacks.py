"""What the threads of a hanging worker are doing, from the worker itself."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.heartbeat import Beat
from nimble_lightning.runs.outcome import Hang
from nimble_lightning.supervision.attempt import Attempt
from nimble_lightning.worker.worker import STACKS

# faulthandler answers from its signal handler; who has not answered by now is stopped or in the kernel.
_ANSWER_SECONDS = 1.0
# A rank that waits in there waits for another one.
_COLLECTIVE = "distributed_c10d.py"
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')


def explain(hang: Hang, attempt: Attempt, folder: RunFolder) -> Hang:
    """Have all ranks write their stacks into the run folder, and name the one the others wait for."""
    beats = attempt.look()
    files = {rank: folder.stacks(attempt.number, rank) for rank in beats}
    stopped = _stopped(beats)
    attempt.signal(STACKS)
    _wait_for([file for rank, file in files.items() if rank not in stopped])
    # On a busy machine the threads of one that is told to stop do so one after the other.
    stopped = _stopped(beats)
    texts = {rank: _read(file) for rank, file in files.items()}
    busy = [rank for rank, text in texts.items() if _COLLECTIVE not in text]
    suspects = stopped or busy or [hang.rank]
    rank = hang.rank if hang.rank in suspects else suspects[0]
    if rank in stopped:
        account = "the process was stopped (SIGSTOP) and could not say where it is"
    elif place := where(texts.get(rank, "")):
        account = f"in {place}; stacks in {files[rank].name}"
    else:
        account = "it gave no answer"
    return replace(hang, rank=rank, step=beats[rank].step if rank in beats else hang.step, where=account)


def _stopped(beats: Mapping[int, Beat]) -> list[int]:
    return [rank for rank, beat in beats.items() if is_stopped(beat.pid)]


def _wait_for(files: Sequence[Path]) -> None:
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until and not all(file.exists() and file.stat().st_size for file in files):
        time.sleep(0.02)
    # The first lines are there; the rest follows within a few milliseconds.
    time.sleep(0.05)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def is_stopped(pid: int) -> bool:
    """Whether a process is suspended, as by SIGSTOP or a debugger."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def where(text: str) -> str:
    """The innermost frame of the main thread, and the innermost of the user's own."""
    main = text.rpartition("Current thread")[2] or text.rpartition("Thread")[2]
    frames = [match.groups() for match in map(_FRAME.match, main.splitlines()) if match]
    own = [
        f
        for f in frames
        if "site-packages" not in f[0] and "nimble_lightning" not in f[0] and "/lib/python" not in f[0]
    ]
    return ", called from ".join(
        f"{name} ({Path(file).name}:{line})" for file, line, name in dict.fromkeys([*frames[:1], *own[:1]])
    )
