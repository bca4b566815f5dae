"""PNG files with nothing but the standard library: eight bits a channel, no interlacing, filter 0."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

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
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = b"".join(_rows(pixels, width * channels))
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _rows(pixels: bytes, stride: int) -> Iterator[bytes]:
    """Each row after the byte that says how it was filtered: not at all."""
    for start in range(0, len(pixels), stride):
        yield b"\x00"
        yield pixels[start : start + stride]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
