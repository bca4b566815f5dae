"""Rank 0 speaks on the terminal and into the log; replicas into logs of their own."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from lightning.pytorch.profilers import SimpleProfiler

from nimble_lightning.run_folder import RunFolder
from nimble_lightning.settings import LogSettings
from nimble_lightning.worker.output import to_log


@pytest.mark.parametrize(
    ("rank", "local_rank", "per_node", "heard"),
    [
        (0, 0, False, True),
        (1, 1, False, False),
        (2, 0, False, False),
        (2, 0, True, True),
        (3, 1, True, False),
    ],
)
def test_who_is_heard_on_the_terminal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rank: int,
    local_rank: int,
    per_node: bool,
    heard: bool,
) -> None:
    folder = RunFolder(tmp_path)
    with to_log(folder, rank, local_rank, LogSettings(per_node=per_node)):
        print("a word")
    assert ("a word" in capsys.readouterr().out) == heard
    assert "a word" in (folder.log if rank == 0 else folder.replica_log(rank)).read_text()


def test_replicas_log_at_their_own_level(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with to_log(folder, 1, 1, LogSettings(level="INFO", replica_level="ERROR")):
        logging.getLogger("nimble_lightning.nope").info("a remark")
        logging.getLogger("nimble_lightning.nope").error("a failure")
    assert folder.replica_log(1).read_text() == "a failure\n"


def test_what_a_profiler_found_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path)
    with to_log(folder, 0, 0, LogSettings()):
        profiler = SimpleProfiler()
        profiler.setup("fit", local_rank=0)
        with profiler.profile("a_phase_of_training"):
            pass
        logging.getLogger("lightning.pytorch.trainer").info("a remark of Lightning's")
        profiler.describe()
    assert "a_phase_of_training" in capsys.readouterr().err
    assert "a_phase_of_training" in folder.log.read_text()
    assert "a remark" not in folder.log.read_text()


def test_redrawn_lines_stay_out_of_the_log(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with to_log(folder, 0, 0, LogSettings()):
        sys.stderr.write("\r\x1b[2Kepoch 1/3")
        print("done")
    assert folder.log.read_text() == "done\n"


def test_attempts_add_to_the_log(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for attempt in (1, 2):
        with to_log(folder, 0, 0, LogSettings()):
            print(f"attempt {attempt}")
    assert folder.log.read_text() == "attempt 1\nattempt 2\n"


def test_logging_is_afterwards_as_it_was(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], logging.getLogger("lightning.pytorch").level)
    with to_log(RunFolder(tmp_path), 0, 0, LogSettings()):
        assert root.handlers != before[0]
    assert (root.handlers, logging.getLogger("lightning.pytorch").level) == before


@pytest.mark.parametrize("when", ["before", "within"])
def test_what_a_library_prints_and_passes_on_is_said_once(
    when: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, logger = RunFolder(tmp_path), logging.getLogger("huggingface_hub")
    kept = logger.handlers
    try:
        if when == "before":
            logger.handlers = [logging.StreamHandler()]
        with to_log(folder, 0, 0, LogSettings()):
            if when == "within":
                logger.handlers = [logging.StreamHandler()]
            logging.getLogger("huggingface_hub.utils").warning("Retrying in 8s")
            logging.getLogger("another").warning("heard too")
        assert folder.log.read_text() == "Retrying in 8s\nheard too\n"
        assert capsys.readouterr().err == folder.log.read_text()
    finally:
        logger.handlers = kept
