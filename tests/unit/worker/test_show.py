"""What `predict_and_show` yields is kept in order, as files people can open."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.ops.marked_text import MarkedText
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.worker import show_loggers
from nimble_lightning.worker.show import MOST, show


def shown(tmp_path: Path, results: Any, **options: Any) -> list[dict[str, Any]]:
    """The index after a trainer whose predict_and_show gives `results` (called, if a function)."""

    class Trainer:
        def pre_process(self) -> None: ...
        def train(self, batch: Any) -> None: ...
        def predict_and_show(self) -> Any:
            return results() if callable(results) else results

    folder = RunFolder(tmp_path)
    show(UserTrainer(Trainer, {}), torch.nn.Linear(1, 1), folder, **options)
    return json.loads((folder.show / "index.json").read_text())  # type: ignore[no-any-return]


def only(tmp_path: Path, value: Any) -> tuple[str, Path]:
    (entry,) = shown(tmp_path, [value])
    assert "error" not in entry, entry
    return entry["kind"], tmp_path / "show" / entry["file"]


def read(path: Path) -> tuple[tuple[int, int], str, list[int]]:
    """Size, mode and bytes of an image file, as another program sees them."""
    with pytest.importorskip("PIL.Image").open(path) as image:
        return image.size, image.mode, list(image.tobytes())


@pytest.mark.parametrize(
    ("value", "kind", "content"),
    [
        ("words", "text", "words\n"),
        (0.5, "text", "0.5\n"),
        (torch.tensor(3), "text", "3\n"),
        ({"a": torch.tensor([1, 2])}, "table", {"a": [1, 2]}),
        ([{"word": "x", "p": np.float32(0.5)}], "table", [{"word": "x", "p": 0.5}]),
        (torch.arange(3), "table", [0, 1, 2]),
        (MarkedText([("a ", False), ("b", True)]), "marked", [["a ", False], ["b", True]]),
    ],
)
def test_words_numbers_and_tables_stay_readable(tmp_path: Path, value: Any, kind: str, content: Any) -> None:
    found, path = only(tmp_path, value)
    assert found == kind
    assert (path.read_text() if kind == "text" else json.loads(path.read_text())) == content


@pytest.mark.parametrize(
    ("image", "size", "mode"),
    [
        (torch.rand(4, 6), (6, 4), "L"),
        (torch.rand(3, 4, 6), (6, 4), "RGB"),
        (torch.rand(1, 4, 6), (6, 4), "L"),
        (np.zeros((4, 6, 3), np.uint8), (6, 4), "RGB"),
        (np.ones((4, 6, 4), np.float32), (6, 4), "RGBA"),
        (torch.rand(3, 4, 3), (3, 4), "RGB"),
        (np.zeros((3, 4, 3)), (4, 3), "RGB"),
        (torch.rand(4, 6) > 0.5, (6, 4), "L"),
        (torch.randn(3, 4, 6, dtype=torch.bfloat16), (6, 4), "RGB"),
    ],
)
def test_arrays_of_an_images_shape_become_images(tmp_path: Path, image: Any, size: Any, mode: str) -> None:
    kind, path = only(tmp_path, image)
    assert (kind, *read(path)[:2]) == ("image", size, mode)


def test_brightness_is_kept_from_0_to_1_and_stretched_beyond(tmp_path: Path) -> None:
    _, path = only(tmp_path, torch.tensor([[0.0, 0.2], [0.4, 0.6]]))
    assert read(path)[2] == [0, 51, 102, 153]
    _, path = only(tmp_path, torch.tensor([[-2.0, 0.0], [2.0, float("nan")]]))
    assert read(path)[2] == [0, 128, 255, 128]


def test_pictures_of_other_libraries_are_saved_by_them(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")

    class Figure:
        def savefig(self, path: Path) -> None:
            path.write_bytes(b"drawn")

    assert only(tmp_path, Figure())[1].read_bytes() == b"drawn"
    assert read(only(tmp_path, pillow.new("CMYK", (2, 1)))[1])[1] == "RGB"


def test_axes_are_shown_as_the_figure_they_are_in(tmp_path: Path) -> None:
    class Figure:
        def savefig(self, path: Path) -> None:
            path.write_bytes(b"drawn")

    class Axes:
        def get_figure(self) -> Figure:
            return Figure()

    assert only(tmp_path, Axes())[1].read_bytes() == b"drawn"


def test_a_figure_that_is_a_page_stays_one(tmp_path: Path) -> None:
    class Interactive:
        def write_html(self, path: str) -> None:
            Path(path).write_text("<html>")

    kind, path = only(tmp_path, Interactive())
    assert (kind, path.name) == ("file", "01.html")


@pytest.mark.parametrize(
    "frames", [torch.rand(5, 3, 4, 6), torch.rand(5, 1, 4, 6), np.zeros((5, 4, 6, 3), np.uint8)]
)
def test_frames_with_a_rate_become_a_picture_that_moves(tmp_path: Path, frames: Any) -> None:
    kind, path = only(tmp_path, (frames, 12.5))
    with pytest.importorskip("PIL.Image").open(path) as image:
        assert (kind, image.size, image.n_frames, image.info["duration"]) == ("image", (6, 4), 5, 80.0)


def test_brightness_is_the_same_in_all_frames(tmp_path: Path) -> None:
    frames = torch.zeros(2, 1, 1, 1)
    frames[0], frames[1] = -1.0, 3.0
    _, path = only(tmp_path, (frames, 10))
    with pytest.importorskip("PIL.Image").open(path) as image:
        seen = []
        for number in range(2):
            image.seek(number)
            seen.append(image.convert("L").getpixel((0, 0)))
    assert seen == [0, 255]


def test_a_moving_picture_of_pillow_goes_on_moving(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    frames = [pillow.new("L", (4, 4), shade) for shade in (0, 128, 255)]
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:])
    with pillow.open(tmp_path / "in.gif") as moving:
        kind, path = only(tmp_path, moving)
    with pillow.open(path) as image:
        assert (kind, image.n_frames) == ("image", 3)


@pytest.mark.parametrize("shape", [(8000,), (2, 8000), (8000, 2)])
def test_samples_with_a_rate_become_sound(tmp_path: Path, shape: tuple[int, ...]) -> None:
    kind, path = only(tmp_path, (torch.ones(shape) * 3, 8000))
    with wave.open(str(path)) as file:
        assert (kind, file.getnframes(), file.getframerate()) == ("audio", 8000, 8000)
        assert file.getnchannels() == len(shape)
        assert file.readframes(1)[:2] == (32767).to_bytes(2, "little"), "as loud as it gets, and no louder"


def test_files_are_copied(tmp_path: Path) -> None:
    clip = tmp_path / "clip.MP4"
    clip.write_bytes(b"moving")
    kind, path = only(tmp_path, clip)
    assert (kind, path.name, path.read_bytes()) == ("video", "01.mp4", b"moving")


def test_captions_and_order_are_in_the_index(tmp_path: Path) -> None:
    index = shown(tmp_path, [("first", "a"), "b", ("third", 3)])
    assert [(e["caption"], e["file"]) for e in index] == [
        ("first", "01.txt"),
        ("", "02.txt"),
        ("third", "03.txt"),
    ]


@pytest.mark.parametrize(
    ("returned", "captions"),
    [
        ({"x": 1, "y": 2}, ["x", "y"]),
        (("one", 1), ["one"]),
        ("alone", [""]),
        (None, []),
        (("a caption", "text"), ["a caption"]),
        ((1, 2, 3), ["", "", ""]),
        ((np.zeros(4000), 4000), [""]),
        (iter(["a", "b"]), ["", ""]),
    ],
)
def test_results_may_be_returned_in_any_likely_form(
    tmp_path: Path, returned: Any, captions: list[str]
) -> None:
    assert [e["caption"] for e in shown(tmp_path, returned)] == captions


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.zeros(2, 3, 4, 4), "no image"),
        (torch.zeros(5, 4, 7), "no image"),
        (Path("nowhere.png"), "there is no file"),
        (b"\x00", "write them to a file"),
    ],
)
def test_what_cannot_be_shown_is_an_entry_in_its_place(tmp_path: Path, value: Any, said: str) -> None:
    before, broken, after = shown(tmp_path, ["before", ("broken", value), "after"])
    assert broken["caption"] == "broken"
    assert said in broken["error"]
    assert (before["file"], after["file"]) == ("01.txt", "03.txt")


def test_a_generator_that_fails_keeps_what_came_before(tmp_path: Path) -> None:
    def predict_and_show() -> Any:
        yield "kept"
        raise KeyError("gone")

    kept, failed = shown(tmp_path, predict_and_show)
    assert kept["file"] == "01.txt"
    assert "KeyError" in failed["error"]
    assert "test_show.py:" in failed["line"]


def test_no_more_than_asked_is_kept(tmp_path: Path) -> None:
    assert len(shown(tmp_path, lambda: (str(n) for n in range(10**9)))) == MOST
    assert len(shown(tmp_path, lambda: (str(n) for n in range(10**9)), most=3)) == 3
    assert shown(tmp_path, ["a"], most=0) == []


def test_trackers_get_it_with_the_step_it_was_shown_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(show_loggers, "pass_on", lambda *words: asked.append(words))
    index = shown(tmp_path, ["a"], loggers=["a logger"], step=40)
    assert asked == [(index, tmp_path / "show", ["a logger"], 40)]


def test_it_runs_without_gradients_and_in_evaluation_mode(tmp_path: Path) -> None:
    assert shown(tmp_path, lambda: [str(torch.is_grad_enabled())])[0]["file"] == "01.txt"
    assert (tmp_path / "show" / "01.txt").read_text() == "False\n"
