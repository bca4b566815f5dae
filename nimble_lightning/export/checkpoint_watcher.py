"""Checkpoints pushed as they are committed, whoever saves them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from nimble_lightning.checkpoint.commit import listen
from nimble_lightning.checkpoint.file_names import manifest_path
from nimble_lightning.checkpoint.resolver import candidates
from nimble_lightning.errors import CheckpointError
from nimble_lightning.export.checkpoint_push import PushTarget
from nimble_lightning.export.exportable_models import ExportedModel
from nimble_lightning.export.upload_queue import Push, Pusher

log = logging.getLogger(__name__)

Strategy = Literal["end", "every_save", "checkpoint", "all_checkpoints"]

# So many that wait are worth a word, then twice as many.
_MANY = 4


class CheckpointWatcher:
    """Hears of each commit and has it pushed by a thread: a step of the training costs nothing.

    Args:
        models: What is trained.
        target: Where pushes go.
        folder: Where checkpoints are saved.
        strategy: What is pushed of them.
    """

    def __init__(
        self, models: Sequence[ExportedModel], target: PushTarget, folder: Path, strategy: Strategy
    ) -> None:
        self._models = models
        self._target = target
        self._folder = folder
        self._strategy = strategy
        self._pusher = Pusher()
        self._listen_no_more: Callable[[], None] = lambda: None
        self._failed: list[Path] = []
        self._many = _MANY
        target.clear()

    def start(self, *, resumed: bool = False) -> None:
        """From now on; in a resumed run, also what was committed and not pushed before the kill."""
        self._listen_no_more = listen(self._on_commit)
        if self._strategy != "all_checkpoints":
            return
        waiting = self._target.waiting()
        for kept in waiting:
            self._push_kept(kept)
        names = {kept.name for kept in waiting}
        # Killed right after a commit, nobody had heard of it. What the Hub has is not uploaded twice.
        for path in self._committed() if resumed else ():
            if path.name not in names:
                self._keep(path)

    def finish(self, seconds: float, *, final: bool) -> None:
        """Wait for pushes, but not longer than that; `final` pushes the model as it is now, too."""
        self._listen_no_more()
        self._push_again()
        if final:
            self._add_model(None)
        self._pusher.finish(seconds)
        self._target.clear()
        if left := self._target.waiting():
            where = self._target.staged
            log.warning("%s not pushed yet: kept in %s until the run goes on", _amount(left), where)

    def _on_commit(self, path: Path) -> None:
        if not path.is_relative_to(self._folder):
            return
        if path.parent.name == "best" or not (self._folder / "best").is_dir():
            self._add_model(path)
        if self._strategy in ("checkpoint", "all_checkpoints"):
            self._add_last(path)
        if self._strategy == "all_checkpoints":
            self._keep(path)

    # --- what is pushed
    # --------------------------------------------------------------------------------------------------

    def _add_model(self, path: Path | None) -> None:
        what = "the model" if path is None else f"the model of {path.name}"
        self._add(path, what, lambda kept: self._target.push_weights(self._models, kept), "model")

    def _add_last(self, path: Path) -> None:
        def act(kept: Path | None) -> object:
            return self._target.push_checkpoint(kept, "last-checkpoint", alone=True) if kept else None

        self._add(path, f"checkpoint {path.name}", act, "last")

    def _add(self, path: Path | None, what: str, act: Callable[[Path | None], object], slot: str) -> None:
        # One that is gone by now has been replaced by a newer one, which is pushed instead.
        with contextlib.suppress(FileNotFoundError):
            kept = None if path is None else self._target.keep(path)
            self._pusher.add(
                Push(
                    what=what,
                    act=lambda: act(kept),
                    command=self._target.command(path, self._folder),
                    slot=slot,
                    drop=lambda: self._target.drop(kept),
                )
            )

    # --- what is kept until it is pushed
    # --------------------------------------------------------------------------------------------------

    def _keep(self, path: Path) -> None:
        self._push_kept(self._target.keep(path, until_pushed=True))
        waiting = self._target.waiting()
        if len(waiting) >= self._many:
            self._many = 2 * len(waiting)
            log.warning("%s to be pushed, and on the disk until then", _amount(waiting))

    def _push_kept(self, kept: Path) -> None:
        self._pusher.add(
            Push(
                what=f"checkpoint {kept.name}",
                act=lambda: self._deliver(kept),
                command=self._target.command(kept, self._folder),
            )
        )

    def _deliver(self, kept: Path) -> None:
        try:
            self._target.push_checkpoint(kept, "checkpoints", alone=False)
        except CheckpointError:  # it is damaged, and will be
            self._target.drop(kept)
            raise
        except Exception:
            self._failed.append(kept)
            raise
        self._target.drop(kept)
        # The Hub is there again.
        self._push_again()

    def _push_again(self) -> None:
        failed, self._failed = self._failed, []
        for kept in failed:
            self._push_kept(kept)

    def _committed(self) -> list[Path]:
        """Oldest first; without a manifest, they are not."""
        found = []
        for path in candidates(self._folder) if self._folder.is_dir() else []:
            with contextlib.suppress(FileNotFoundError):
                found.append((manifest_path(path).stat().st_mtime_ns, path))
        return [path for _, path in sorted(found)]


def _amount(checkpoints: Sequence[Path]) -> str:
    files = (file for path in checkpoints for file in [path, *path.rglob("*")])
    size = sum(file.stat().st_size for file in files if file.is_file())
    return f"{len(checkpoints)} checkpoints ({size / 1e6:,.1f} MB)"
