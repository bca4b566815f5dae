"""One result of `predict_and_show` as one file that a browser can show."""

from __future__ import annotations

import json
import mimetypes
import shutil
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nimble_lightning.errors import TrainerError
from nimble_lightning.notifications import png
from nimble_lightning.ops.marked_text import MarkedText
from nimble_lightning.ops.secrets import redact

_CHANNELS = (1, 3, 4)
_MOST_SPEAKERS = 8
_LOWEST_RATE = 1000
_HIGHEST_FRAME_RATE = 240
_PNG_MODES = ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")


def keep(value: Any, stem: Path) -> tuple[Path, str]:
    """Write a result at `stem`; returns the file and what it is: text, marked, table, image, and so on.

    Raises:
        TrainerError: It cannot be shown.
    """
    if isinstance(value, Path):
        return _copied(value, stem)
    if isinstance(value, MarkedText):
        return _text(json.dumps(value.pieces, ensure_ascii=False), stem.with_suffix(".json")), "marked"
    if (drawn := _of_other_libraries(value, stem)) is not None:
        return drawn
    if is_sound(value):
        return _sound(_array(value[0]), int(value[1]), stem), "audio"
    if is_film(value):
        return _film(_array(value[0]), float(value[1]), isinstance(value[0], torch.Tensor), stem), "image"
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim >= 2:
        return _image(_array(value), isinstance(value, torch.Tensor), stem), "image"
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    if isinstance(value, dict | list | tuple) or getattr(value, "ndim", 0) == 1:
        return _text(json.dumps(_plain(value), indent=2, default=_plain), stem.with_suffix(".json")), "table"
    if isinstance(value, bytes):
        raise TrainerError("bytes say not what they are; write them to a file and yield its Path")
    return _text(str(value.item() if hasattr(value, "item") else value), stem.with_suffix(".txt")), "text"


def _of_other_libraries(value: Any, stem: Path) -> tuple[Path, str] | None:
    """Figures and pictures that know how to save themselves, whoever made them."""
    if not hasattr(value, "savefig") and hasattr(value, "get_figure"):
        value = value.get_figure()
    if hasattr(value, "savefig"):
        value.savefig(path := stem.with_suffix(".png"))
        return path, "image"
    if hasattr(value, "write_html"):
        value.write_html(str(path := stem.with_suffix(".html")))
        return path, "file"
    if hasattr(value, "save") and hasattr(value, "convert"):
        return _pillow(value, stem), "image"
    return None


def _text(text: str, path: Path) -> Path:
    path.write_text(f"{redact(text)}\n", encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return value if isinstance(value, dict | list | tuple) else str(value)


def _copied(source: Path, stem: Path) -> tuple[Path, str]:
    if not source.is_file():
        raise TrainerError(f"there is no file {source}")
    path = stem.with_suffix(source.suffix.lower())
    shutil.copyfile(source, path)
    kind = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    return path, kind if kind in ("text", "image", "audio", "video") else "file"


def _pillow(image: Any, stem: Path) -> Path:
    if getattr(image, "is_animated", False):
        image.save(path := stem.with_suffix(".gif"), save_all=True)
        return path
    path = stem.with_suffix(".png")
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(path)
    return path


def _array(value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return np.asarray(value)


def _image(array: np.ndarray[Any, Any], channels_first: bool, stem: Path) -> Path:
    array = _channels_last(array, channels_first)
    height, width, channels = array.shape
    path = stem.with_suffix(".png")
    path.write_bytes(png.encode(_as_bytes(array).tobytes(), width, height, channels))
    return path


def _film(frames: np.ndarray[Any, Any], rate: float, channels_first: bool, stem: Path) -> Path:
    """A PNG that moves, which every browser plays and nobody has to install anything for."""
    pictures = _as_bytes(np.stack([_channels_last(frame, channels_first) for frame in frames]))
    height, width, channels = pictures.shape[1:]
    path = stem.with_suffix(".png")
    path.write_bytes(png.animate([picture.tobytes() for picture in pictures], width, height, channels, rate))
    return path


def _channels_last(array: np.ndarray[Any, Any], channels_first: bool) -> np.ndarray[Any, Any]:
    """Tensors have their channels first, arrays last, unless only the other way round makes sense."""
    if array.ndim == 2:
        array, channels_first = array[None], True
    first, last = array.shape[0] in _CHANNELS, array.shape[-1] in _CHANNELS
    if array.ndim != 3 or not array.size or not (first or last):
        raise TrainerError(
            f"values of shape {tuple(array.shape)} are no image; expected height x width, "
            "with 1, 3 or 4 channels. Of a batch, yield one at a time"
        )
    return np.moveaxis(array, 0, -1) if first and (channels_first or not last) else array


def _as_bytes(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """0 to 255: whole numbers as they are, fractions from 0 to 1; what goes beyond that is scaled to fit."""
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.integer):
        return array.clip(0, 255).astype(np.uint8)
    array = np.nan_to_num(array.astype(np.float64))
    low, high = array.min(), array.max()
    if low < 0 or high > 1:
        array = (array - low) / ((high - low) or 1)
    return (array * 255).round().astype(np.uint8)


def is_sound(value: Any) -> bool:
    """Samples and their rate; a pair of an image and its label has no number as large as a rate."""
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    if not isinstance(value[1], int) or value[1] < _LOWEST_RATE:
        return False
    shape = getattr(value[0], "shape", ())
    return len(shape) == 1 or (len(shape) == 2 and min(shape) <= _MOST_SPEAKERS)


def is_film(value: Any) -> bool:
    """Frames and how many of them make a second."""
    if not isinstance(value, tuple) or len(value) != 2 or isinstance(value[1], bool):
        return False
    frames, rate = value
    several = isinstance(frames, torch.Tensor | np.ndarray) and frames.ndim == 4 and len(frames) > 0
    return several and isinstance(rate, int | float) and 0 < rate <= _HIGHEST_FRAME_RATE


def _sound(samples: np.ndarray[Any, Any], rate: int, stem: Path) -> Path:
    """Sixteen bits a sample; fractions from -1 to 1, quieter where they go beyond."""
    frames = samples.reshape(-1, 1) if samples.ndim == 1 else samples
    if frames.shape[0] < frames.shape[1]:
        frames = frames.T
    if not np.issubdtype(frames.dtype, np.integer):
        frames = np.nan_to_num(frames.astype(np.float64))
        frames = frames / max(1.0, float(np.abs(frames).max(initial=0.0))) * 32767
    path = stem.with_suffix(".wav")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(frames.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(frames.clip(-32768, 32767).astype("<i2").tobytes())
    return path
