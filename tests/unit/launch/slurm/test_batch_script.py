"""What is asked of Slurm, from the settings under `launch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.slurm.batch_script import batch_script
from nimble_lightning.settings import Slurm, read


def launch(*overrides: str) -> Slurm:
    GlobalHydra.instance().clear()
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = compose("config", overrides=["launch=slurm", *overrides])
    given: Any = OmegaConf.to_container(config.launch)
    return read(Slurm, given)


def options(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_settings_become_options_and_what_is_left_open_is_left_to_the_cluster() -> None:
    asked = launch("launch.partition=gpu", "launch.nodes=2", "launch.gpus_per_node=8", "launch.time=4:00:00")
    text = batch_script(asked, "digits", Path("/shared/run"))
    assert text.startswith("#!/bin/bash\n")
    assert options(text) == [
        "--job-name=digits",
        "--partition=gpu",
        "--nodes=2",
        "--gpus-per-node=8",
        "--time=4:00:00",
        "--ntasks-per-node=1",
        "--signal=TERM@120",
        "--requeue",
        "--open-mode=append",
        "--output=/shared/run/slurm.txt",
    ]
    assert text.splitlines()[-1].startswith("srun --ntasks-per-node=1")
    assert text.endswith("-m nimble_lightning.launch.slurm /shared/run\n")


def test_any_option_of_sbatch_can_be_given_and_ours_cannot_be_taken_away() -> None:
    more = launch("launch.sbatch={constraint: 'a100|h100', exclusive: true, mail_user: me@home, nice: null}")
    written = options(batch_script(more, "digits", Path("/shared/run")))
    assert {"--constraint='a100|h100'", "--exclusive", "--mail-user=me@home"} <= set(written)
    assert not any("nice" in option for option in written)
    with pytest.raises(RequestError, match=r"launch.sbatch.open-mode is set by launch=slurm itself"):
        batch_script(launch("launch.sbatch={open_mode: truncate}"), "digits", Path("/shared/run"))


def test_members_are_elements_of_an_array_each_in_its_folder() -> None:
    text = batch_script(launch("launch.jobs=2"), "digits/s", Path("/shared/s"), [0, 3, 7])
    assert "--array=0,3,7%2" in options(text)
    assert "--output=/shared/s/%a/slurm.txt" in options(text)
    assert text.endswith('/shared/s "$SLURM_ARRAY_TASK_ID"\n')
    assert "--array=0,3,7" in options(batch_script(launch(), "digits/s", Path("/shared/s"), [0, 3, 7]))


def test_lines_of_the_users_come_before_anything_is_started() -> None:
    text = batch_script(launch("launch.setup=['module load cuda','ulimit -c 0']"), "x", Path("/shared/run"))
    assert text.index("module load cuda\nulimit -c 0\n") < text.index("srun")


def test_a_folder_may_have_a_name_that_the_shell_and_slurm_read_otherwise() -> None:
    text = batch_script(launch(), "x", Path("/shared/50% off"))
    assert "--output='/shared/50%% off/slurm.txt'" in options(text)
    assert text.endswith("'/shared/50% off'\n")


def test_a_run_may_ask_not_to_be_queued_again() -> None:
    assert "--no-requeue" in options(batch_script(launch("launch.requeue=false"), "x", Path("/shared/run")))
