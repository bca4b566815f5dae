"""PNG files with nothing but the standard library: eight bits a channel, no interlacing, filter 0."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}


def encode(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """The bytes of a PNG file.

    Args:
        pixels: Row by row, pixel by pixel, channel by channel.
        width: In pixels.
        height: In pixels.
        channels: 1 grey, 3 colour, 4 colour with opacity.
    """
    if channels not in _COLOUR_TYPES or len(pixels) != width * height * channels:
        raise ValueError(f"{len(pixels)} bytes are no image of {width} x {height} x {channels}")
    data = _chunk(b"IDAT", _packed(pixels, width * channels))
    return _SIGNATURE + _header(width, height, channels) + data + _chunk(b"IEND", b"")


def animate(frames: Sequence[bytes], width: int, height: int, channels: int, rate: float) -> bytes:
    """The bytes of a PNG file that shows one frame after the other, again and again.

    Args:
        frames: The pixels of each, as above; at least one.
        width: In pixels.
        height: In pixels.
        channels: 1 grey, 3 colour, 4 colour with opacity.
        rate: Frames a second.
    """
    if not frames or any(len(pixels) != width * height * channels for pixels in frames):
        raise ValueError(f"these are no frames of {width} x {height} x {channels}")
    milliseconds = max(1, round(1000 / rate))
    parts = [_header(width, height, channels), _chunk(b"acTL", struct.pack(">II", len(frames), 0))]
    number = 0
    for pixels in frames:
        control = struct.pack(">IIIIIHHBB", number, width, height, 0, 0, milliseconds, 1000, 0, 0)
        parts.append(_chunk(b"fcTL", control))
        data = _packed(pixels, width * channels)
        # The first is what programs see that do not know about the others.
        kind, ahead = (b"fdAT", struct.pack(">I", number + 1)) if number else (b"IDAT", b"")
        parts.append(_chunk(kind, ahead + data))
        number += 2 if number else 1
    return _SIGNATURE + b"".join(parts) + _chunk(b"IEND", b"")


def _header(width: int, height: int, channels: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0))


def _packed(pixels: bytes, stride: int) -> bytes:
    return zlib.compress(b"".join(_rows(pixels, stride)))


def _rows(pixels: bytes, stride: int) -> Iterator[bytes]:
    """Each row after the byte that says how it was filtered: not at all."""
    for start in range(0, len(pixels), stride):
        yield b"\x00"
        yield pixels[start : start + stride]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
