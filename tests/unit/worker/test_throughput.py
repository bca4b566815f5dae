"""What a run took and what went through it, over all attempts and ranks."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
from omegaconf import OmegaConf

from nimble_lightning.runs.job import Job
from nimble_lightning.worker import throughput


def test_samples_a_second_are_those_of_all_ranks_each_share_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def everyones(own: Any) -> list[Any]:
        return [own, (1, 30), (1, 30)]

    monkeypatch.setattr(throughput, "everyones", everyones)
    job = Job.from_config(OmegaConf.create({"run_id": "a"}), trainer="m:T", folder="run")
    metered = throughput.Meter(job, 1)
    metered.load_state_dict({"seconds": 2.0, "samples": 10})
    assert metered.rates(L.Trainer(accelerator="cpu", logger=False))["train_samples_per_second"] == 20.0


def test_samples_of_a_checkpoint_are_those_of_all_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "share_of_data", lambda strategy: (0, 3))
    job = Job.from_config(OmegaConf.create({"run_id": "a"}), trainer="m:T", folder="run")
    metered, checkpoint = throughput.Meter(job, 1), dict[str, Any]()
    metered.load_state_dict({"seconds": 2.0, "samples": 10})
    trainer = L.Trainer(accelerator="cpu", logger=False)
    metered.on_save_checkpoint(trainer, L.LightningModule(), checkpoint)
    assert checkpoint["nimble"]["samples"] == 30
