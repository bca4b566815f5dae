"""What a trainer remembers beside its weights goes on after a kill, or is named."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import stateful_trainers
import torch
from killed_runs import digests, faults, job
from resume_cases import CutOff, CutOffError, plain, seed_all
from stateful_trainers import BATCH, Collating, Remembering, RememberingModule, Rows, RowsModule
from two_ranks import TwoRanks

from nimble_lightning.adapters import adapt
from nimble_lightning.callbacks import ExactResume
from nimble_lightning.checkpoint import NimbleCheckpointIO
from nimble_lightning.data import rng
from nimble_lightning.launch.start import start
from nimble_lightning.settings import DataSettings, RunSettings

# An epoch has six steps.
STEPS, EPOCHS = 18, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before, state = torch.get_num_threads(), rng.snapshot()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    rng.restore(state)


class CutOffAnywhere(CutOff):
    """For modules that do not note what they saw."""

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self.batches = trainer.fit_loop.total_batch_idx


def parts(kind: Any, params: dict[str, Any]) -> Any:
    if issubclass(kind, L.LightningModule):
        return kind(), RowsModule()
    data = DataSettings(batch_size=BATCH, num_workers=params.get("workers", 0))
    return adapt(kind(), settings=RunSettings(data=data, seed=3), **params)


def train(
    kind: Any,
    params: dict[str, Any],
    path: Path,
    cut: int | None = None,
    resume: bool = False,
    ranks: int = 1,
) -> Any:
    """Returns digests of the weights."""
    seed_all(1000 if resume else 0)
    module, data = parts(kind, params)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=ranks,
        strategy="ddp" if ranks > 1 else "auto",
        default_root_dir=path.parent,
        max_epochs=EPOCHS,
        max_steps=STEPS,
        callbacks=[ExactResume(), *([] if cut is None else [CutOffAnywhere(cut, path)])],
        plugins=[NimbleCheckpointIO()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    with suppress(CutOffError):
        trainer.fit(module, datamodule=data, ckpt_path=path if resume else None, weights_only=True)
    return plain(module.state_dict())


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "attributes": (Remembering, {"data": "tensors"}),
    "dataset": (Remembering, {"data": "rows"}),
    "dataset, workers": (Remembering, {"data": "rows", "workers": 2}),
    "stream": (Remembering, {"data": "stream"}),
    "stream, workers": (Remembering, {"data": "stream", "workers": 1}),
    "sampler": (Remembering, {"data": "sampler"}),
    "collate": (Remembering, {"data": "collate"}),
    "collate, of the trainer": (Collating, {"data": "rows"}),
    "LightningModule": (RememberingModule, {}),
}


@functools.cache
def uninterrupted(case: str, folder: Path) -> Any:
    return train(*CASES[case], folder / "none.ckpt")


def require_same(case: str, cut: int, folder: Path) -> None:
    train(*CASES[case], folder / "some.ckpt", cut)
    assert train(*CASES[case], folder / "some.ckpt", resume=True) == uninterrupted(case, Path("/nowhere"))


@pytest.mark.parametrize("case", CASES)
def test_training_goes_on_with_what_it_remembered(case: str, tmp_path: Path) -> None:
    require_same(case, 8, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 5, 6, 7, 11, 12, 17])
@pytest.mark.parametrize("case", CASES)
def test_wherever_it_is_cut_off(case: str, cut: int, tmp_path: Path) -> None:
    require_same(case, cut, tmp_path)


def on_a_rank(rank: int, ranks: int, case: str, path: Path, cut: int | None, resume: bool) -> Any:
    return train(*CASES[case], path, cut, resume, ranks)


def test_each_rank_goes_on_with_its_own(tmp_path: Path) -> None:
    ranks = TwoRanks()
    try:
        whole = ranks.run(on_a_rank, 2, "attributes", tmp_path / "none.ckpt", None, False)
        ranks.run(on_a_rank, 2, "attributes", tmp_path / "some.ckpt", 5, False)
        assert ranks.run(on_a_rank, 2, "attributes", tmp_path / "some.ckpt", None, True) == whole
    finally:
        ranks.close()
    first, second = torch.load(tmp_path / "some.ckpt", weights_only=True)["nimble"]["attributes"]
    assert plain(first) != plain(second)


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trainer = f"{stateful_trainers.__file__}:Remembering"
    settings = [
        "lightning.max_epochs=4",
        "+lightning.limit_val_batches=0",
        "lightning.val_check_interval=null",
    ]
    kills = faults("kill@step=5,attempt=1; kill@step=10,attempt=2")
    results = [
        start(job(tmp_path / name, *settings, *more, trainer=trainer))
        for name, more in (("whole", []), ("killed", kills))
    ]
    assert [result.status for result in results] == ["finished"] * 2
    assert [attempt["cause"] for attempt in results[1].attempts] == ["killed"] * 2 + ["finished"]
    whole, killed = digests(tmp_path / "whole"), digests(tmp_path / "killed")
    assert {name: killed[name] for name in ("weights", "step")} == {n: whole[n] for n in ("weights", "step")}


class Foo:
    pass


class CountedRows(Rows):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __getitem__(self, index: int) -> Any:
        self.calls += 1
        return super().__getitem__(index)


VARIABLE = [0]


class Forgetful(Remembering):
    def pre_process(self, **params: Any) -> None:
        super().pre_process()
        self.train_data = CountedRows()
        self.foos: list[Foo] = []
        self.numbers = itertools.count()

    def train(self, batch: Any) -> torch.Tensor:
        self.foos.append(Foo())
        VARIABLE[0] += 1
        return super().train(batch)


def test_what_is_not_restored_is_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(Forgetful, {}, tmp_path / "some.ckpt", 3)
    said = [record.getMessage() for record in caplog.records if "not restored" in record.getMessage()]
    mine, variable, read = said
    assert "after a kill: self.numbers (count), self.foos (list of Foo);" in mine
    assert "state_dict() and load_state_dict()" in mine
    assert "test_user_state.VARIABLE (list); keep it in an attribute" in variable
    assert "self.train_data.calls (int)" in read
    assert "self.train_data" not in mine


def test_what_changes_in_a_worker_is_named_by_it(tmp_path: Path) -> None:
    # Of another process, so that only a file hears of it.
    log, heard = logging.getLogger("nimble_lightning.data.fetch"), logging.FileHandler(tmp_path / "log")
    log.addHandler(heard)
    try:
        _, data = parts(Forgetful, {"workers": 2})
        data.setup("fit")
        loader = data.train_dataloader()
        assert len(list(loader)) == 6
        loader.close()
    finally:
        log.removeHandler(heard)
        heard.close()
    said = (tmp_path / "log").read_text()
    assert said.count("not restored after a kill: CountedRows.calls; it changes where samples are read") == 1
