"""Nobody who stops reading ends what is printed to them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nimble_lightning.terminal.streams import Expendable

PRINTS = """
import sys
from nimble_lightning.terminal.streams import expendable, open_missing
open_missing()
with expendable():
    for number in range(3):
        print("said", flush=True)
        print("said", file=sys.stderr)
print("said afterwards")
open("numbers", "w").write(str([sys.stdout.fileno(), sys.stderr.fileno(), open("other", "w").fileno() > 2]))
sys.exit(5)
"""


@pytest.mark.parametrize("redirected", [">&-", "2>&-", ">&- 2>&- <&-", "> /dev/full 2>&1", "> /dev/full"])
def test_a_program_ends_as_it_would(redirected: str) -> None:
    command = f'"{sys.executable}" -c "$PRINTS" {redirected}'
    assert subprocess.run(command, shell=True, env={**os.environ, "PRINTS": PRINTS}).returncode == 5
    assert Path("numbers").read_text() == "[1, 2, True]"


def test_a_closed_pipe_is_written_to_no_more() -> None:
    read, write = os.pipe()
    stream = Expendable(open(write, "w"))  # noqa: SIM115
    os.close(read)
    for text in ("first", "second"):
        assert stream.write(text) == len(text)
        stream.flush()
    stream.close()


def test_a_file_may_have_room_again(tmp_path: Path) -> None:
    full = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    stream = Expendable(full, for_good=False)
    assert stream.write("lost\n") == 5
    os.dup2(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT), full.fileno())
    stream.write("kept\n")
    full.close()
    assert "kept\n" in (tmp_path / "log").read_text()
