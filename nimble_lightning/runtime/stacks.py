"""What the threads of a hanging worker are doing, from the worker itself."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

from nimble_lightning.runtime.attempt import Attempt
from nimble_lightning.runtime.folder import RunFolder
from nimble_lightning.runtime.watchdog import Hang
from nimble_lightning.runtime.worker import STACKS

# faulthandler answers from its signal handler; who has not answered by now is stopped or in the kernel.
_ANSWER_SECONDS = 1.0
_FRAME = re.compile(r'  File "(.+)", line (\d+) in (.+)')


def explain(hang: Hang, attempt: Attempt, folder: RunFolder) -> Hang:
    """Have all ranks write their stacks into the run folder, and say where the silent one stands."""
    file = folder.stacks(attempt.number, hang.rank)
    attempt.signal(STACKS)
    until = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < until and not (file.exists() and file.stat().st_size):
        time.sleep(0.02)
    time.sleep(0.05)
    beat = attempt.beats().get(hang.rank)
    if beat is not None and is_stopped(beat.pid):
        return replace(hang, where="the process was stopped (SIGSTOP) and could not say where it is")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    return replace(
        hang, where=f"in {place}; stacks in {file.name}" if (place := where(text)) else "it gave no answer"
    )


def is_stopped(pid: int) -> bool:
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
