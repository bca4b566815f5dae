"""A curve is a picture any viewer opens; a spike in a million points is still in it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from nimble_lightning.notifications.loss_curve import HEIGHT, WIDTH, draw


def pixels(points: list[tuple[float, float]]) -> np.ndarray:
    picture = draw(points)
    assert picture is not None
    return np.asarray(Image.open(io.BytesIO(picture)))


def blue(image: np.ndarray) -> np.ndarray:
    return (image == (31, 119, 180)).all(axis=2)


def test_a_falling_metric_goes_from_top_left_to_bottom_right() -> None:
    line = blue(pixels([(x, 10.0 - x) for x in range(11)]))
    assert line.shape == (HEIGHT, WIDTH)
    rows, columns = np.nonzero(line)
    assert rows[columns.argmin()] < HEIGHT / 4
    assert rows[columns.argmax()] > HEIGHT * 3 / 4


def test_a_spike_is_not_lost() -> None:
    flat = [(float(x), 0.0) for x in range(100_000)]
    flat[54_321] = (54_321.0, 1.0)
    assert blue(pixels(flat))[: HEIGHT // 4].any()


@pytest.mark.parametrize("points", [[], [(1, 2)], [(1, 2), (1, 3)], [(1, float("nan")), (2, 3)]])
def test_where_there_is_no_line_there_is_no_picture(points: list[tuple[float, float]]) -> None:
    assert draw(points) is None


def test_a_constant_is_a_line() -> None:
    assert blue(pixels([(0, 1.0), (1, 1.0)])).sum() > WIDTH / 2
