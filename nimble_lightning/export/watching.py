"""Checkpoints noticed when they have been committed, whoever saves them, and pushed."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from nimble_lightning.checkpoint.names import manifest_path
from nimble_lightning.checkpoint.resolver import candidates
from nimble_lightning.export.during import Target
from nimble_lightning.export.models import Model
from nimble_lightning.export.pushing import Push, Pusher

log = logging.getLogger(__name__)

Strategy = Literal["end", "every_save", "checkpoint", "all_checkpoints"]

LOOK_SECONDS = 2.0


class Watch:
    """Looks into a folder now and then, in a thread: a step of the training costs nothing.

    Args:
        models: What is trained.
        target: Where pushes go.
        folder: Where checkpoints are saved.
        strategy: What is pushed of them.
    """

    def __init__(self, models: Sequence[Model], target: Target, folder: Path, strategy: Strategy) -> None:
        self._models = models
        self._target = target
        self._folder = folder
        self._strategy = strategy
        self._pusher = Pusher()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look_again, name="hub-watch", daemon=True)
        self._seen = set(self._committed())
        target.clear()

    def start(self) -> None:
        self._thread.start()

    def finish(self, seconds: float, *, final: bool) -> None:
        """Wait for pushes, but not longer than that; `final` pushes the model as it is now, too."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=seconds)
            if seconds:
                self._look()
        if final:
            self._add_model(None)
        self._pusher.finish(seconds)
        self._target.clear()

    def _look_again(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                self._look()
            except OSError as error:
                log.warning("%s cannot be looked into for checkpoints to push: %s", self._folder, error)

    def _look(self) -> None:
        found = self._committed()
        fresh = [path for path, when in found if (path, when) not in self._seen]
        self._seen.update(found)
        best = [path for path in fresh if path.parent.name == "best"]
        if best or (fresh and not (self._folder / "best").is_dir()):
            self._add_model((best or fresh)[-1])
        if fresh and self._strategy in ("checkpoint", "all_checkpoints"):
            self._add_checkpoint(fresh[-1], "last-checkpoint", slot="last")
        if self._strategy == "all_checkpoints":
            for path in fresh:
                self._add_checkpoint(path, "checkpoints", slot="")

    def _add_model(self, path: Path | None) -> None:
        what = "the model" if path is None else f"the model of {path.name}"
        self._add(path, what, lambda kept: self._target.push_weights(self._models, kept), "model")

    def _add_checkpoint(self, path: Path, under: str, slot: str) -> None:
        def act(kept: Path | None) -> object:
            return self._target.push_checkpoint(kept, under, alone=bool(slot)) if kept else None

        self._add(path, f"checkpoint {path.name}", act, slot)

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

    def _committed(self) -> list[tuple[Path, int]]:
        """Checkpoints with the time they were committed, oldest first; without a manifest, they are not."""
        found = []
        for path in candidates(self._folder) if self._folder.is_dir() else []:
            with contextlib.suppress(FileNotFoundError):
                found.append((path, manifest_path(path).stat().st_mtime_ns))
        return sorted(found, key=lambda entry: entry[1])
