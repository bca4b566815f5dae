"""What was shown, given to the trackers that are on: each gets it in the form it has for such things."""

from __future__ import annotations

import html
import json
import logging
import wave
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nimble_lightning.run_folder import SHOW

log = logging.getLogger(__name__)


def pass_on(entries: Sequence[Mapping[str, Any]], show: Path, loggers: Iterable[Any], step: int) -> None:
    """Give what is kept in the folder `show` to the loggers that have a place for it.

    Args:
        entries: The index of that folder.
        show: The folder.
        loggers: Lightning's.
        step: At which step of the training it was shown.
    """
    kept = [entry for entry in entries if "file" in entry]
    for logger in loggers if kept else ():
        for name, give in _TRACKERS.items():
            if any(base.__name__ == name for base in type(logger).__mro__):
                try:
                    give(logger, kept, show, step)
                except Exception as error:  # a finished run must not fail for it
                    log.warning("%s did not take what was shown: %s: %s", name, type(error).__name__, error)


def _to_tensorboard(logger: Any, entries: Sequence[Mapping[str, Any]], show: Path, step: int) -> None:
    writer = logger.experiment
    for entry in entries:
        tag, path, kind = _tag(entry), show / entry["file"], entry["kind"]
        if kind == "image" and path.suffix == ".png":
            writer.add_image(tag, _pixels(path), step, dataformats="HWC")
        elif kind == "audio" and path.suffix == ".wav":
            samples, rate = _sound(path)
            writer.add_audio(tag, samples, step, rate)
        elif kind == "table":
            writer.add_text(tag, _indented(json.dumps(json.loads(path.read_text("utf-8")), indent=1)), step)
        elif kind == "text":
            writer.add_text(tag, _indented(path.read_text(encoding="utf-8")), step)
        else:
            writer.add_text(tag, f"{kind}: {path}", step)
    writer.flush()


def _to_wandb(logger: Any, entries: Sequence[Mapping[str, Any]], show: Path, step: int) -> None:
    # It is an extra, and has no types when it is not there.
    wandb: Any = import_module("wandb")
    shown: dict[str, Any] = {}
    for entry in entries:
        path, caption = show / entry["file"], entry["caption"]
        if entry["kind"] == "image":
            shown[_tag(entry)] = wandb.Image(str(path), caption=caption)
        elif entry["kind"] == "audio":
            shown[_tag(entry)] = wandb.Audio(str(path), caption=caption)
        elif entry["kind"] == "video":
            shown[_tag(entry)] = wandb.Video(str(path), caption=caption, format=path.suffix[1:])
        elif entry["kind"] in ("text", "marked", "table"):
            words = html.escape(path.read_text(encoding="utf-8"))
            shown[_tag(entry)] = wandb.Html(f"<p>{html.escape(caption)}</p><pre>{words}</pre>", inject=False)
    # Its own count of steps has gone on since the last one we know.
    logger.experiment.log(shown)


def _to_mlflow(logger: Any, entries: Sequence[Mapping[str, Any]], show: Path, step: int) -> None:
    logger.experiment.log_artifacts(logger.run_id, str(show), SHOW)


_TRACKERS: Mapping[str, Callable[[Any, Sequence[Mapping[str, Any]], Path, int], None]] = {
    "TensorBoardLogger": _to_tensorboard,
    "WandbLogger": _to_wandb,
    "MLFlowLogger": _to_mlflow,
}


def _tag(entry: Mapping[str, Any]) -> str:
    """Sorted as it was shown, told apart by number where captions are the same."""
    return f"{SHOW}/{Path(entry['file']).stem} {entry['caption']}".strip()


def _indented(text: str) -> str:
    """As Markdown shows it letter by letter."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _sound(path: Path) -> tuple[np.ndarray[Any, Any], int]:
    """All channels as one, from -1 to 1, and the rate."""
    with wave.open(str(path)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return frames.mean(axis=1, keepdims=True).T / 32768, file.getframerate()
