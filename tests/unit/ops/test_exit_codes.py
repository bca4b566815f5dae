"""Exit codes are plain numbers to shells and files, and words in the help."""

from __future__ import annotations

import json
import subprocess
import sys

from nimble_lightning.cli.help_text import _KEYS
from nimble_lightning.errors import RequestError, TrainerError
from nimble_lightning.ops.exit_codes import STOPPED, TRAINED, ExitCode


def test_a_code_is_a_number_in_a_file_and_in_a_message() -> None:
    assert json.dumps({"exit_code": ExitCode.TERMINATED}) == '{"exit_code": 143}'
    assert f"{ExitCode.TERMINATED}, {ExitCode.FAILED}" == "143, 1"


def test_a_process_ends_with_the_number() -> None:
    source = (
        "from nimble_lightning.ops.exit_codes import ExitCode; raise SystemExit(ExitCode.CRITERIA_NOT_MET)"
    )
    assert subprocess.run([sys.executable, "-c", source]).returncode == 3


def test_a_wrong_request_and_a_failure_are_told_apart() -> None:
    assert [ExitCode.of(error("")) for error in (RequestError, TrainerError, ValueError)] == [2, 1, 1]


def test_no_code_is_both_stopped_and_trained() -> None:
    assert {*STOPPED} | {*TRAINED} | {ExitCode.FAILED, ExitCode.REFUSED} == {*ExitCode}
    assert not {*STOPPED} & {*TRAINED}


def test_the_help_lists_every_code_with_its_meaning() -> None:
    assert "0 finished   1 failed   2 the request was wrong   3 criteria not met\n" in _KEYS
    assert "130, 143 stopped by a signal\n" in _KEYS
