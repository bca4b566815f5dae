"""A picture comes out of the file as it went in."""

from __future__ import annotations

import io

import pytest

from nimble_lightning.notifications import png

Image = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_another_program_reads_the_same_pixels(channels: int, mode: str) -> None:
    pixels = bytes(i * 7 % 256 for i in range(5 * 3 * channels))
    with Image.open(io.BytesIO(png.encode(pixels, 5, 3, channels))) as image:
        assert (image.size, image.mode) == ((5, 3), mode)
        assert image.tobytes() == pixels


@pytest.mark.parametrize(("size", "channels"), [(14, 1), (30, 2)])
def test_what_is_no_image_is_refused(size: int, channels: int) -> None:
    with pytest.raises(ValueError, match="are no image of 5 x 3"):
        png.encode(bytes(size), 5, 3, channels)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_another_program_sees_every_frame_as_long_as_it_should(channels: int, mode: str) -> None:
    frames = [bytes((i * 7 + k * 50) % 256 for i in range(5 * 3 * channels)) for k in range(3)]
    with Image.open(io.BytesIO(png.animate(frames, 5, 3, channels, 20))) as image:
        assert (image.size, image.n_frames, image.info["duration"]) == ((5, 3), 3, 50.0)
        for number, pixels in enumerate(frames):
            image.seek(number)
            assert image.convert(mode).tobytes() == pixels


@pytest.mark.parametrize("frames", [[], [bytes(15), bytes(14)]])
def test_what_are_no_frames_is_refused(frames: list[bytes]) -> None:
    with pytest.raises(ValueError, match="no frames of 5 x 3"):
        png.animate(frames, 5, 3, 1, 10)
