"""Who runs a job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.launch import inline
from nimble_lightning.launch.external import rank
from nimble_lightning.launch.multinode import node
from nimble_lightning.launch.slurm import queue
from nimble_lightning.launch.start import start
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.supervision import supervisor


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was asked to run a job, and whether it is to be trained again for its verdict."""
    found: list[str] = []

    def ask(who: str) -> Any:
        def run(job: Job, *_: Any, late_verdict: Any = None) -> Result:
            found.append(f"{who}, then trained again" if late_verdict else who)
            return Result("finished", {}, job.folder.path)

        return run

    monkeypatch.setattr(supervisor, "supervise", ask("supervisor"))
    monkeypatch.setattr(inline, "run_inline", ask("this process"))
    monkeypatch.setattr(queue, "run", lambda job, launch: ask("slurm")(job))
    monkeypatch.setattr(rank, "run", lambda job, ranks: ask(f"rank {ranks.rank}")(job))
    monkeypatch.setattr(
        node.Node, "run", lambda self: ask("node")(self._job, late_verdict=self._late_verdict)
    )
    return found


def job(folder: Path, launch: str, **settings: Any) -> Job:
    asked = {"launch": {"name": launch, "nnodes": "1", "rdzv_endpoint": "localhost:1"}, "run_id": "r"}
    return Job.from_config(OmegaConf.create({**asked, **settings}), trainer="m:T", folder=folder)


@pytest.mark.parametrize(
    ("launch", "who"),
    [
        ("local", "supervisor"),
        ("ray", "supervisor"),
        ("inline", "this process"),
        ("slurm", "slurm"),
        ("multinode", "node"),
    ],
)
def test_the_settings_say_who_runs_a_job(tmp_path: Path, chosen: list[str], launch: str, who: str) -> None:
    start(job(tmp_path, launch))
    assert chosen == [who]


@pytest.mark.parametrize("launch", ["local", "torchrun"])
def test_a_process_that_is_a_rank_already_is_one_of_this_run(
    tmp_path: Path, chosen: list[str], launch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": 1, "WORLD_SIZE": 2, "LOCAL_RANK": 1, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    start(job(tmp_path, launch))
    assert chosen == ["rank 1"]


@pytest.mark.parametrize("launch", ["local", "inline"])
def test_several_nodes_take_a_command_on_each(tmp_path: Path, chosen: list[str], launch: str) -> None:
    with pytest.raises(RequestError, match=r"num_nodes=2 needs as many machines: .*launch=multinode"):
        start(job(tmp_path, launch, lightning={"num_nodes": 2}))
    assert not chosen


@pytest.mark.parametrize("devices", [2, [0, 1], "0,1"])
def test_several_devices_take_processes_of_their_own(tmp_path: Path, chosen: list[str], devices: Any) -> None:
    with pytest.raises(RequestError, match=r"asks for 2\nAdd lightning.devices=1, or leave launch=inline"):
        start(job(tmp_path, "inline", lightning={"devices": devices, "accelerator": "cpu"}))
    assert not chosen


def test_a_run_to_be_replayed_is_trained_again_by_what_started_it(tmp_path: Path, chosen: list[str]) -> None:
    replay = {"_target_": "nimble_lightning.validators.Replay", "stretches": 1}
    start(job(tmp_path, "local", validator=replay))
    start(job(tmp_path, "local", validator={}))
    assert chosen == ["supervisor, then trained again", "supervisor"]
