"""The console script, whatever is at the other end of its output."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest

from nimble_lightning.commands import main


@pytest.mark.parametrize("words", [["--help"], ["models"]])
@pytest.mark.parametrize(("buffered", "code"), [(False, 128 + signal.SIGPIPE), (True, 0)])
def test_a_reader_that_has_seen_enough_ends_it_without_a_traceback(
    words: list[str], buffered: bool, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with io.TextIOWrapper(open(writer, "wb", -1 if buffered else 0), write_through=not buffered) as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert main.main(words) == code
