"""Progress in real, tiny fits; what it draws is read from the stream it draws on."""

from __future__ import annotations

import io
import sys
from itertools import count
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from rich.console import Console
from torch.utils.data import DataLoader, IterableDataset

from nimble_lightning import callbacks
from nimble_lightning.callbacks import Progress
from nimble_lightning.terminal import progress_display
from nimble_lightning.terminal.progress_line import Rate


class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        output = super().training_step(batch, batch_idx)
        self.log("train_loss", output["loss"])
        return output


def fit(
    progress: Progress, model: L.LightningModule | None = None, data: object = None, **options: object
) -> L.Trainer:
    few = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 2}
    resumed = options.pop("ckpt_path", None)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[progress],
        **{**few, **options},
    )
    trainer.fit(model or Model(), BoringDataModule() if data is None else data, ckpt_path=resumed)
    return trainer


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, force_interactive=terminal, width=80), out


def test_it_takes_the_place_of_lightnings_bar() -> None:
    progress = Progress(console=console(terminal=False)[0])
    assert fit(progress).progress_bar_callback is progress


def test_without_a_terminal_it_prints_plain_lines() -> None:
    drawn, out = console(terminal=False)
    fit(Progress(console=drawn))
    lines = out.getvalue().splitlines()
    assert lines[-1].startswith("epoch 2/2  step 8/8  100 %  loss ")
    assert lines[-1].endswith("samples/s  ETA 0:00")
    assert "\x1b" not in out.getvalue()


def test_after_a_resume_the_speed_is_that_of_what_is_done_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, counted = tmp_path / "saved.ckpt", list[int]()
    fit(Progress(console=console(terminal=False)[0])).save_checkpoint(saved)
    add = Rate.add
    monkeypatch.setattr(Rate, "add", lambda self, now, step: (counted.append(step), add(self, now, step)))
    fit(Progress(console=console(terminal=False)[0]), max_epochs=3, ckpt_path=saved)
    assert (counted[0], counted[-1]) == (8, 12)


def test_epochs_of_milliseconds_do_not_fill_the_log() -> None:
    drawn, out = console(terminal=False)
    fit(Progress(console=drawn), max_epochs=30, limit_train_batches=1, limit_val_batches=0)
    assert len(out.getvalue().splitlines()) < 15


def test_plain_lines_come_ever_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress_display.time, "monotonic", lambda: clock[0])
    drawn, out = console(terminal=False)
    plain = progress_display.PlainLines(drawn, longest_wait=60.0)
    shown = []
    for second in range(600):
        clock[0] = float(second)
        plain.show(progress_display.ProgressPosition(second, 600))
        if len(out.getvalue().splitlines()) > len(shown):
            shown.append(second)
    assert shown[:5] == [5, 15, 35, 75, 135]
    assert {b - a for a, b in zip(shown[3:], shown[4:], strict=False)} == {60}


def test_in_a_terminal_it_redraws_one_line_and_leaves_the_last() -> None:
    drawn, out = console(terminal=True)
    stdout, stderr = sys.stdout, sys.stderr
    fit(Progress(per_second=1e6, console=drawn))
    assert out.getvalue().count("\r\x1b[2K") >= 8
    assert "\x1b[?25l" not in out.getvalue(), "the cursor is never hidden"
    assert out.getvalue().split("\r\x1b[2K")[-1].startswith("epoch 2/2  step 8/8  100 %")
    assert (sys.stdout, sys.stderr) == (stdout, stderr)


def test_what_is_printed_meanwhile_is_kept_whole(capsys: pytest.CaptureFixture[str]) -> None:
    class Talks(Model):
        def on_train_batch_start(self, batch, batch_idx):
            print("the batch", batch_idx)
            self.print("said", batch_idx)

    fit(Progress(per_second=1e6, console=console(terminal=True)[0]), Talks(), max_epochs=1)
    said = capsys.readouterr().out
    assert "".join(f"the batch {i}\nsaid {i}\n" for i in range(4)) in said
    assert "\x1b" not in said


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_after_an_error_the_terminal_is_as_it_was(error: type[BaseException]) -> None:
    class Fails(Model):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 2:
                raise error

    stdout, stderr = sys.stdout, sys.stderr
    drawn, out = console(terminal=True)
    with pytest.raises((error, SystemExit)):
        fit(Progress(per_second=1e6, console=drawn), Fails())
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert out.getvalue().endswith("\n"), "the prompt gets a line of its own"


class Endless(IterableDataset):
    def __iter__(self):
        return (torch.randn(32) for _ in count())


def test_a_loader_without_end_has_steps_but_no_percentage() -> None:
    drawn, out = console(terminal=True)
    endless = DataLoader(Endless(), batch_size=2)
    progress = Progress(per_second=1e6, console=drawn)

    class Stops(Model):
        val_dataloader = None

        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.trainer.should_stop = batch_idx == 4

    fit(progress, Stops(), endless, max_epochs=-1, limit_train_batches=None, limit_val_batches=0)
    last = out.getvalue().splitlines()[-1]
    assert "step 5" in last
    assert "%" not in last
    assert "ETA" not in last


def test_a_maximum_of_steps_is_the_end_too() -> None:
    drawn, out = console(terminal=False)
    fit(Progress(console=drawn), max_epochs=-1, max_steps=6)
    assert "step 6/6  100 %" in out.getvalue().splitlines()[-1]


def test_switched_off_it_shows_nothing_and_on_again_it_does() -> None:
    drawn, out = console(terminal=False)
    progress = Progress(console=drawn)
    progress.disable()
    fit(progress)
    assert out.getvalue() == ""
    progress.enable()
    fit(progress)
    assert out.getvalue() != ""


def test_a_replica_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(L.Trainer, "is_global_zero", property(lambda self: False))
    drawn, out = console(terminal=False)
    fit(Progress(console=drawn))
    assert out.getvalue() == ""


def test_metrics_are_read_only_when_something_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    plain = L.Trainer.callback_metrics
    counting = property(lambda self: reads.append(1) or plain.fget(self))
    monkeypatch.setattr(L.Trainer, "callback_metrics", counting)
    fit(Progress(console=console(terminal=False)[0]), max_epochs=1, limit_train_batches=50)
    assert len(reads) <= 4


def test_tests_and_predictions_are_shown_as_such() -> None:
    drawn, out = console(terminal=True)
    trainer = fit(Progress(per_second=1e6, console=drawn), max_epochs=1)
    trainer.test(Model(), BoringDataModule(), verbose=False)
    trainer.predict(Model(), BoringDataModule())
    assert "test  step 64/64  100 %" in out.getvalue()
    assert "predict  step 64/64  100 %" in out.getvalue()


@pytest.mark.parametrize("wrong", [{"per_second": 0}, {"longest_wait": -1}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
        Progress(**wrong)


class Two(Model):
    """A step of each of two optimizers a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx)["loss"])
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(self.layer.parameters(), lr=0.1) for _ in range(2)]


@pytest.mark.parametrize("parts", [1, 3])
def test_a_step_has_the_samples_of_all_its_batches_on_all_ranks(
    parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []

    class Kept(progress_display.PlainLines):
        def show(self, position, milestone=False):
            shown.append(position)

    monkeypatch.setattr(callbacks.progress, "display", lambda console, _, longest: Kept(console, longest))
    monkeypatch.setattr(callbacks.progress, "share_of_data", lambda strategy: (0, parts))
    fit(Progress(), limit_train_batches=6, accumulate_grad_batches=3)
    assert shown[-1].samples_per_step == 3 * parts


@pytest.mark.parametrize(
    ("model", "options", "line"),
    [
        (Two, {}, "epoch 2/2  step 16/16  100 %"),
        (Model, {"accumulate_grad_batches": 3}, "epoch 2/2  step 4/4  100 %"),
        (Two, {"max_epochs": -1, "max_steps": 6}, "step 6/6  100 %"),
    ],
)
def test_it_counts_the_steps_of_optimizers(model: type, options: dict, line: str) -> None:
    drawn, out = console(terminal=False)
    trainer = fit(Progress(console=drawn), model(), **options)
    assert line in out.getvalue().splitlines()[-1]
    assert f"step {trainer.global_step}/" in out.getvalue().splitlines()[-1]


def test_it_gives_way_to_a_bar_that_the_module_brings() -> None:
    class Brings(Model):
        def configure_callbacks(self):
            return [RichProgressBar()]

    shown, out = console(terminal=False)
    trainer = fit(Progress(console=shown), Brings())
    assert type(trainer.progress_bar_callback) is RichProgressBar
    assert out.getvalue() == ""
