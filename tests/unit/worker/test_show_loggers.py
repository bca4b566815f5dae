"""What was shown is given to the trackers that are on; the real TensorBoard can show it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.worker import show_files
from nimble_lightning.worker.show_loggers import pass_on

SHOW = Path("show")
RESULTS = {
    "words": "a <b>seven</b>",
    "picture": torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]]),
    "tone": (torch.sin(torch.arange(800) / 5), 8000),
    "table": [{"digit": 7, "share": 0.5}],
    "film": (np.zeros((3, 4, 6, 3), np.uint8), 12),
}


def shown() -> list[dict[str, Any]]:
    SHOW.mkdir()
    index: list[dict[str, Any]] = []
    for number, (caption, value) in enumerate(RESULTS.items(), start=1):
        file, kind = show_files.keep(value, SHOW / f"{number:02d}")
        index.append({"caption": caption, "file": file.name, "kind": kind})
    (SHOW / "06.mp4").write_bytes(b"moving")
    return [
        *index,
        {"caption": "no", "error": "KeyError"},
        {"caption": "clip", "file": "06.mp4", "kind": "video"},
    ]


def test_the_real_tensorboard_has_text_pictures_and_sound() -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("PIL.Image")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger("logs", name="", version="one")
    pass_on(shown(), SHOW, [logger], step=40)
    logger.finalize("success")
    found = EventAccumulator("logs/one").Reload()
    assert found.Tags()["images"] == ["show/02 picture", "show/05 film"]
    assert found.Tags()["audio"] == ["show/03 tone"]
    texts = {tag.split("/text_summary")[0] for tag in found.Tags()["tensors"]}
    assert texts == {"show/01 words", "show/04 table", "show/06 clip"}
    (image,) = found.Images("show/02 picture")
    assert (image.step, image.width, image.height) == (40, 2, 1)
    (sound,) = found.Audio("show/03 tone")
    assert (sound.step, sound.sample_rate, sound.length_frames) == (40, 8000, 800)
    (words,) = found.Tensors("show/01 words/text_summary")
    assert words.tensor_proto.string_val == [b"    a <b>seven</b>"]


class WandbLogger:
    def __init__(self) -> None:
        self.logged: list[dict[str, Any]] = []
        self.experiment = SimpleNamespace(log=self.logged.append)


class MLFlowLogger:
    run_id = "r1"

    def __init__(self) -> None:
        self.artifacts: list[tuple[str, ...]] = []
        self.experiment = SimpleNamespace(log_artifacts=lambda *words: self.artifacts.append(words))


def test_each_kind_has_its_form_in_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    def kind(name: str) -> Any:
        return lambda content, **options: (name, content, options)

    fake = SimpleNamespace(**{name: kind(name) for name in ("Image", "Audio", "Video", "Html")})
    monkeypatch.setitem(sys.modules, "wandb", fake)
    logger = WandbLogger()
    pass_on(shown(), SHOW, [logger], step=40)
    (logged,) = logger.logged
    assert [value[0] for value in logged.values()] == ["Html", "Image", "Audio", "Html", "Image", "Video"]
    assert "<b>" not in logged["show/01 words"][1]
    assert logged["show/06 clip"][2] == {"caption": "clip", "format": "mp4"}


def test_mlflow_gets_the_folder() -> None:
    logger = MLFlowLogger()
    pass_on(shown(), SHOW, [logger, object()], step=40)
    assert logger.artifacts == [("r1", "show", "show")]


def test_a_tracker_that_fails_costs_a_warning_and_not_the_others(caplog: pytest.LogCaptureFixture) -> None:
    broken, whole = MLFlowLogger(), MLFlowLogger()
    broken.experiment = SimpleNamespace()
    with caplog.at_level(logging.WARNING):
        pass_on(shown(), SHOW, [broken, whole], step=40)
    assert whole.artifacts
    assert "MLFlowLogger did not take what was shown: AttributeError" in caplog.text


def test_nothing_shown_asks_nobody() -> None:
    logger = MLFlowLogger()
    pass_on([{"caption": "no", "error": "KeyError"}], SHOW, [logger], step=0)
    assert logger.artifacts == []
