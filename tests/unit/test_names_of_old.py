"""Scripts and queued jobs that know the package `runtime` go on for one release."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nimble_lightning as nl
from nimble_lightning import runtime
from nimble_lightning.runs.job import Job


def test_old_names_are_the_new_ones_and_say_so() -> None:
    with pytest.warns(DeprecationWarning, match="it is nimble_lightning.run now"):
        assert runtime.run is nl.run
    with pytest.warns(DeprecationWarning, match=r"nimble_lightning\.runs\.job\.Job"):
        assert runtime.Job is Job
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = runtime.nope


def test_a_job_queued_with_the_old_name_is_started_by_the_new_one() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nimble_lightning.runtime.slurm", "nowhere"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "nowhere" in done.stderr
