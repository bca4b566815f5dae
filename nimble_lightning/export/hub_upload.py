"""Folders pushed to the Hugging Face Hub: tried again a few times, in one commit, local files only read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nimble_lightning.errors import ExportError

ATTEMPTS = 4
_FIRST_WAIT = 1.0
# What asking again does not change: not logged in, not allowed, no such place, a request that makes no sense.
_HOPELESS = (400, 401, 403, 404, 413)


def push(
    folder: Path,
    repo: str,
    *,
    message: str,
    under: str = "",
    extra: Mapping[str, bytes] | None = None,
    private: bool | None = None,
    replace: bool = False,
    bars: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> str:
    """Push the files of a folder, hidden ones left out; returns the address of the commit.

    Args:
        folder: What is pushed.
        repo: `owner/name`; made if it is not there.
        message: Of the commit.
        under: The folder in the repository.
        extra: Further files by their names, instead of those of the folder that are called the same.
        private: Whether a repository that has to be made is private; None leaves it to the account.
        replace: Whether other files that are in that folder of the repository go with the same commit.
        bars: Whether progress is shown on the terminal.
        sleep: What waits between attempts.

    Raises:
        ExportError: It failed as often as is tried, or for a reason that stays.
    """
    # Costs half a second to import, and reads its settings from the environment then.
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    contents: dict[str, Any] = {path.relative_to(folder).as_posix(): path for path in files_in(folder)}
    contents.update(extra or {})
    prefix = f"{under}/" if under else ""

    def once() -> str:
        api = HfApi()
        api.create_repo(repo, exist_ok=True, private=private)
        # Made anew for each attempt: the library notes in them what it has uploaded, and where.
        adds = [
            CommitOperationAdd(prefix + name, str(value) if isinstance(value, Path) else value)
            for name, value in sorted(contents.items())
        ]
        old = api.list_repo_files(repo) if replace else []
        gone = [n for n in old if n.startswith(prefix) and n.removeprefix(prefix) not in contents]
        operations: list[Any] = [*adds, *(CommitOperationDelete(name) for name in gone)]
        return str(api.create_commit(repo, operations, commit_message=message).commit_url)

    with contextlib.nullcontext() if bars else _without_bars():
        return retried(once, f"Pushing to {repo}", sleep)


def retried(act: Callable[[], str], what: str, sleep: Callable[[float], object] = time.sleep) -> str:
    """Do something over the network, a few times if need be, waiting twice as long each time."""
    wait = _FIRST_WAIT
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return act()
        except Exception as error:  # of the library, of the transport below it, of the disk
            if attempt == ATTEMPTS or not _may_pass(error):
                raise ExportError(f"{what} failed: {_reason(error)}") from error
        sleep(wait)
        wait *= 2
    raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    if are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and its sub-folders, without hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _may_pass(error: Exception) -> bool:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return status not in _HOPELESS
    # Offline mode and a name that is not a repository's are said before anything is sent.
    return not isinstance(error, ValueError | TypeError | FileNotFoundError) and not type(
        error
    ).__name__.startswith(("Offline", "LocalToken", "HFValidation"))


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"
