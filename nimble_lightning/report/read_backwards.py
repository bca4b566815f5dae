"""A file of lines read from its end, so that what was written last is known first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nimble_lightning.ops import plain_files

# Large enough that the work on a chunk outweighs the call, small enough that its rows fit a cache.
CHUNK = 1 << 18
_LONGEST = 16 << 20


def chunks(path: Path, begin: int = 0, size: int = CHUNK) -> Iterator[list[bytes]]:
    """Whole lines in groups, the last group first; within a group they are in the order of the file.

    Args:
        path: The file. What follows its last newline is torn, or still being written, and left out.
        begin: Where in it to stop.
        size: How many bytes to read at once.
    """
    with plain_files.open_plain(path) as file:
        end = position = file.seek(0, os.SEEK_END)
        rest = b""
        torn = True
        while position > begin:
            start = max(begin, position - size)
            file.seek(start)
            data = file.read(position - start) + rest
            position = start
            if torn:
                data = data[: data.rfind(b"\n") + 1]
                torn = not data
            # The first line may have begun in the chunk before; it may even be longer than a chunk.
            cut = 0 if start == begin else data.find(b"\n") + 1 or len(data)
            rest = data[:cut]
            if len(rest) > _LONGEST or (torn and end - position > _LONGEST):
                # A hole in a file, which may be as long as any disk.
                return
            if cut < len(data):
                yield data[cut:-1].split(b"\n")
