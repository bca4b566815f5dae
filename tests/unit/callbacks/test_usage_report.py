from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.loggers import CSVLogger
from pytest_httpserver import HTTPServer

from nimble_lightning.callbacks import AutoRetry, UsageReport
from nimble_lightning.callbacks._budget import Spending
from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import events
from nimble_lightning.ops.process_environment import RUN
from nimble_lightning.usage.prices import Budget


def fit(
    callback: L.Callback, *others: L.Callback, model: BoringModel | None = None, **options: Any
) -> L.Trainer:
    quiet = {"logger": False, "enable_model_summary": False, "enable_progress_bar": False}
    few = {"max_epochs": 2, "limit_train_batches": 5, "limit_val_batches": 2, "num_sanity_val_steps": 0}
    trainer = L.Trainer(
        callbacks=[callback, *others],
        accelerator="cpu",
        enable_checkpointing=False,
        **{**quiet, **few, **options},
    )
    trainer.fit(model or BoringModel(), datamodule=BoringDataModule())
    return trainer


def usage(folder: str | Path = ".") -> dict[str, Any]:
    return json.loads((Path(folder) / "usage.json").read_text())


def test_alone_it_leaves_an_account_and_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    fit(UsageReport(prices={"gpu_hour": 2, "currency": "EUR"}, grid="FR", peak_flops=1e9))
    account = usage()
    assert account["final"]
    assert (account["steps"], account["samples"], account["attempts"]) == (10, 10, 1)
    assert account["devices"] == [{"name": "cpu", "count": 1}]
    assert sum(account["time"].values()) == pytest.approx(account["wall_seconds"], abs=0.01)
    assert account["flops"]["value"] == 10 * 2 * 2 * 32 * 2
    assert account["mfu"]["value"] > 0
    assert account["cost"]["amount"]["value"] == pytest.approx(account["device_seconds"] / 1800, abs=1e-6)
    assert account["co2e_kg"]["value"] > 0
    assert (Path("emissions.csv")).exists()
    assert "10 steps, 10 samples" in capsys.readouterr().out


def test_it_changes_no_bit_of_the_model() -> None:
    def weights(*callbacks: L.Callback) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = BoringModel()
        torch.manual_seed(1)
        fit(L.Callback(), *callbacks, model=model)
        return [*model.state_dict().values(), torch.rand(3)]

    for plain, reported in zip(weights(), weights(UsageReport()), strict=True):
        assert torch.equal(plain, reported)


def test_time_is_told_by_what_it_went_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second for each thing that is done, and stands still otherwise."""
    now = [1000.0]
    monkeypatch.setattr("nimble_lightning.usage.clock.time.perf_counter", lambda: now[0])

    class Slow(BoringModel):
        def training_step(self, batch, batch_idx):
            now[0] += 1.0
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            now[0] += 0.1
            return super().validation_step(batch, batch_idx)

        def on_train_batch_start(self, batch, batch_idx):
            self.trainer.save_checkpoint("some.ckpt", weights_only=True)

        def on_save_checkpoint(self, checkpoint):
            now[0] += 10.0

    callback = UsageReport()
    trainer = fit(callback, model=Slow())
    assert callback._account is not None
    seconds = callback._account.recorder.piece.seconds
    assert seconds["step"] == pytest.approx(10.0)
    assert seconds["validation"] == pytest.approx(0.4)
    assert seconds["checkpoint"] == pytest.approx(100.0)
    assert seconds["data"] == pytest.approx(0.0)
    assert "save_checkpoint" not in vars(trainer), "the Trainer is as it was"


def test_a_second_fit_goes_on_with_the_account() -> None:
    callback = UsageReport()
    trainer = fit(callback)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(BoringModel(), datamodule=BoringDataModule())
    trainer.test(BoringModel(), datamodule=BoringDataModule(), verbose=False)
    assert usage()["attempts"] == 1
    assert usage()["samples"] == 15


def test_a_new_run_in_the_same_folder_has_an_account_of_its_own() -> None:
    fit(UsageReport())
    first = usage()
    fit(UsageReport())
    assert usage()["run_id"] != first["run_id"]
    assert (usage()["samples"], usage()["attempts"]) == (10, 1)


def test_a_script_that_is_started_again_goes_on_with_its_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUN, "mine")
    fit(UsageReport())
    fit(UsageReport())
    account = usage("nimble/mine")
    assert (account["run_id"], account["attempts"]) == ("mine", 2)
    assert sorted(path.name for path in Path("nimble/mine/usage").iterdir()) == [
        "attempt-1.rank-0.json",
        "attempt-2.rank-0.json",
    ]


def test_a_failing_fit_is_accounted_for() -> None:
    class Fails(BoringModel):
        def training_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise ZeroDivisionError("mine")
            return super().training_step(batch, batch_idx)

    with pytest.raises(ZeroDivisionError, match="mine"):
        fit(UsageReport(), model=Fails())
    assert usage()["samples"] == 3


def test_an_error_in_the_first_batch_leaves_nothing_that_counts() -> None:
    class Fails(BoringModel):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError("mine")

    callback = UsageReport()
    with pytest.raises(ZeroDivisionError):
        fit(callback, model=Fails())
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_a_trial_run_leaves_no_file() -> None:
    fit(UsageReport(), fast_dev_run=True)
    assert not Path("usage.json").exists()
    assert not Path("usage").exists()


def test_a_full_disk_costs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    Path("usage").write_text("in the way of the folder")
    with caplog.at_level(logging.WARNING):
        fit(UsageReport())
    ours = [r for r in caplog.records if r.name.startswith("nimble_lightning")]
    assert len(ours) == 1


def test_a_few_figures_go_to_the_loggers_and_none_to_the_metrics() -> None:
    callback = UsageReport(prices={"gpu_hour": 2})
    callback_metrics: list[set[str]] = []

    class Wait(BoringModel):
        def on_train_epoch_start(self):
            # The thread's first account is there long before an epoch ends in earnest.
            account = callback._account
            while account is not None and account.usage is None:
                pass

        def on_train_end(self):
            callback_metrics.append(set(self.trainer.callback_metrics))

    fit(callback, model=Wait(), logger=CSVLogger("logs"))
    (path,) = Path("logs").rglob("metrics.csv")
    assert {"usage/kwh", "usage/cost"} <= set(path.read_text().splitlines()[0].split(","))
    assert not any(name.startswith("usage") for name in callback_metrics[0])


class Endless(BoringModel):
    """Trains until somebody stops it, or for two hundred epochs."""

    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        torch.rand(100_000).sort()
        return output


def test_alone_a_used_up_budget_saves_and_stops(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        trainer = fit(UsageReport(budget={"max_time": 0.5}), model=Endless(), max_epochs=20_000)
    assert 0 < trainer.global_step < 100_000
    (saved,) = Path("checkpoints").glob("budget-step=*.ckpt")
    assert torch.load(saved, weights_only=True)["global_step"] == trainer.global_step
    assert "the budget is used up: max_time is 0.5 s" in caplog.text
    (event,) = (event for event in events.read(Path()) if event.kind == "budget")
    assert "max_time" in event.facts["reason"]


def test_a_budget_waits_for_the_end_of_an_accumulation() -> None:
    trainer = fit(
        UsageReport(budget={"max_time": 0.5}), model=Endless(), max_epochs=20_000, accumulate_grad_batches=4
    )
    (saved,) = Path("checkpoints").glob("budget-step=*.ckpt")
    batches = torch.load(saved, weights_only=True)["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
    assert trainer.global_step > 0
    assert batches["processed"] % 5 in (0, 4), "at a step, or at the end of an epoch of five batches"


@pytest.mark.parametrize("resumed_at", [0, 7])
def test_a_budget_waits_for_a_step_whoever_accumulates(
    resumed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []
    monkeypatch.setattr(Spending, "_stop", lambda self, reason: stopped.append(self._trainer.global_step))
    trainer: Any = SimpleNamespace(world_size=1, global_step=resumed_at)
    spending = Spending(trainer, Budget(max_cost=1), SimpleNamespace())  # type: ignore[arg-type]
    spending._over = "used up"
    for step in (0, 0, 1):
        assert not stopped, "in the middle of a step"
        trainer.global_step = resumed_at + step
        spending.after_batch()
    assert stopped == [resumed_at + 1]


def test_with_auto_retry_a_used_up_budget_is_its_reason_to_stop() -> None:
    with pytest.raises(SystemExit) as stop:
        fit(
            UsageReport(budget={"max_time": 0.5}),
            AutoRetry(save_every_epoch=False),
            model=Endless(),
            max_epochs=20_000,
        )
    assert type(stop.value).__name__ == "OutOfTime"
    assert "the budget is used up" in str(stop.value)
    (saved,) = Path("checkpoints/steps").glob("step-*.ckpt")
    assert saved.stat().st_size > 0


def test_what_is_left_is_told_in_batches_whichever_limit_comes_first() -> None:
    options = {"limit_train_batches": 10, "accumulate_grad_batches": 2}
    for limits, total in (({"max_steps": 3}, 6), ({"max_epochs": 1, "max_steps": 9}, 10)):
        fit(UsageReport(), **options, **limits)
        (piece,) = Path("usage").glob("*.json")
        assert json.loads(piece.read_text())["total"] == total
        piece.unlink()


def test_a_report_goes_where_it_was_asked_for(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/runs", method="POST").respond_with_data("")
    fit(UsageReport(report_to=httpserver.url_for("/runs")))
    (request, _) = httpserver.log[0]
    assert request.get_json() == usage()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prices": {"gpu": 2}}, "There is no prices.gpu"),
        ({"budget": {"max_cost": 5}}, "budget.max_cost needs prices"),
        ({"grid": "Atlantis"}, "grid='Atlantis'"),
        ({"pue": 0.5}, "pue=0.5"),
        ({"report_to": "nowhere"}, "report_to is no address"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        UsageReport(**arguments)
