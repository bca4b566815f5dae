"""GPUInfo in real, tiny fits: on GPUs that are made up, and on this machine without any."""

from __future__ import annotations

import io
import json
import logging
import threading
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
from lightning.pytorch.loggers import CSVLogger
from rich.console import Console

from nimble_lightning.callbacks import GPUInfo, Progress
from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import events
from nimble_lightning.testing import FakeGPU, FakeNVML


class Watched(BoringModel):
    """Goes on with a step only when there was a look, so that no test depends on how quick anything is."""

    def __init__(self, callback: GPUInfo, steps: int = 0) -> None:
        super().__init__()
        self.callback = callback
        self.steps = steps

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        before = self.latest
        if batch_idx < self.steps:
            assert wait_for(lambda: self.latest is not before)
        return super().training_step(batch, batch_idx)

    @property
    def latest(self) -> object:
        return self.callback._watch and self.callback._watch.latest


def wait_for(found: Any) -> bool:
    pause = threading.Event()
    return any(found() or pause.wait(0.005) for _ in range(4000))


def info(**options: Any) -> GPUInfo:
    return GPUInfo(**{"interval": 0.005, "console": Console(file=io.StringIO()), **options})


def trainer(callback: L.Callback, *more: L.Callback, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_model_summary": False, "enable_checkpointing": False}
    few = {"max_epochs": 1, "limit_train_batches": 4, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    return L.Trainer(callbacks=[callback, *more], accelerator="cpu", **{**quiet, **few, **options})


def fit(callback: GPUInfo, *more: L.Callback, steps: int = 4, **options: Any) -> L.Trainer:
    fitted = trainer(callback, *more, **options)
    fitted.fit(Watched(callback, steps), BoringDataModule())
    return fitted


def said(callback: GPUInfo) -> str:
    assert callback._console is not None
    return callback._console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def lines(file: Path | str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def samplers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "gpu-sampler"]


def test_without_a_gpu_the_machine_is_watched_and_one_line_says_so(tmp_path: Path) -> None:
    callback = info()
    with FakeNVML():
        fit(callback, default_root_dir=tmp_path)
    (line,) = said(callback).splitlines()
    assert line.startswith("no GPU in use (")
    samples = lines(tmp_path / "gpu.jsonl")
    assert len(samples) >= 4
    assert all(sample["devices"] == [] and sample["host"]["ram_total"] > 0 for sample in samples)
    assert samples[-1]["host"]["process_cpu"] is not None


def test_the_devices_are_shown_and_each_look_is_kept(tmp_path: Path) -> None:
    callback = info(devices=[1])
    with FakeNVML(FakeGPU(), FakeGPU(name="NVIDIA Second", pcie=(5, 4, 5, 16))):
        fit(callback, default_root_dir=tmp_path)
    assert "NVIDIA Second" in said(callback)
    assert "! GPU 1 has a PCIe link of 4 lanes out of 16" in said(callback)
    samples = lines(tmp_path / "gpu.jsonl")
    assert {device["index"] for sample in samples for device in sample["devices"]} == {1}
    assert [sample["step"] for sample in samples] == sorted(sample["step"] for sample in samples)
    assert samples[-1]["step"] >= 3
    assert {sample["rank"] for sample in samples} == {0}
    assert {sample["attempt"] for sample in samples} == {None}


def test_in_a_run_of_ours_each_look_names_the_attempt(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch()
    (tmp_path / "run.json").write_text('{"attempts": [{}, {}, {}]}')
    with FakeNVML():
        fit(info(), default_root_dir=tmp_path)
    assert {sample["attempt"] for sample in lines(tmp_path / "gpu.jsonl")} == {3}


def test_devices_of_the_machine_that_are_not_trained_on_are_left_alone(tmp_path: Path) -> None:
    callback = info()
    with FakeNVML(FakeGPU()):
        fit(callback, default_root_dir=tmp_path)
    assert "no GPU in use (none asked for)" in said(callback)
    assert all(sample["devices"] == [] for sample in lines(tmp_path / "gpu.jsonl"))


def test_an_alarm_is_an_event_and_a_warning_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FakeNVML(FakeGPU(throttle=0x40, temperature=91.0)):
        fit(info(devices=[0]), default_root_dir=tmp_path)
    (event,) = events.read(tmp_path)
    assert event.kind == "alarm"
    assert event.facts["alarm"] == "heat"
    assert event.facts["device"] == 0
    assert "91 °C" in event.facts["text"]
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING].count(
        event.facts["text"]
    ) == 1


def test_another_ranks_alarm_is_told_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(L.Trainer, "is_global_zero", property(lambda self: False))
    monkeypatch.setattr(L.Trainer, "global_rank", property(lambda self: 3))
    with FakeNVML(FakeGPU(throttle=0x40)):
        fit(info(devices=[0]), default_root_dir=tmp_path)
    (event,) = events.read(tmp_path)
    assert event.facts["rank"] == 3
    assert lines(tmp_path / "gpu.rank-3.jsonl")[0]["rank"] == 3
    assert not (tmp_path / "gpu.jsonl").exists()


def test_a_second_rank_without_a_gpu_has_nothing_to_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(L.Trainer, "local_rank", property(lambda self: 1))
    callback = info()
    with FakeNVML():
        fitted = trainer(callback, default_root_dir=tmp_path)
        fitted.fit(BoringModel(), BoringDataModule())
    assert said(callback) == ""
    assert not (tmp_path / "gpu.jsonl").exists()


def test_idleness_counts_from_the_start_of_training_to_its_end(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    class Looks(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            seen.append(("before", callback._watch.training))

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen.append(("during", callback._watch.training))

        def on_fit_end(self, trainer, pl_module):
            seen.append(("after", callback._watch.training))

    callback = info()
    with FakeNVML():
        fit(callback, Looks(), steps=0, default_root_dir=tmp_path)
    assert set(seen) == {("before", False), ("during", True), ("after", False)}


def test_loggers_get_a_figure_when_lightning_logs_and_only_from_the_training_thread(tmp_path: Path) -> None:
    threads: set[str] = set()

    class Listening(CSVLogger):
        def log_metrics(self, metrics, step=None):
            threads.add(threading.current_thread().name)
            super().log_metrics(metrics, step)

    logger = Listening(tmp_path)
    with FakeNVML(FakeGPU(utilization=42.0)):
        fit(info(devices=[0]), logger=logger, log_every_n_steps=2)
    rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    names = rows[0].split(",")
    logged = [dict(zip(names, row.split(","), strict=True)) for row in rows[1:]]
    figures = [row for row in logged if row["gpu/0/utilization"]]
    assert [row["gpu/0/utilization"] for row in figures] == ["42.0", "42.0"]
    assert [row["step"] for row in figures] == ["1", "3"], "every second step, as Lightning counts them"
    assert "host/ram_used" in names
    assert threads == {"MainThread"}
    assert (Path(logger.log_dir) / "gpu.jsonl").exists()


def test_a_logger_gets_each_look_once_and_none_if_not_wanted(tmp_path: Path) -> None:
    for to_logger, most in ((True, 1), (False, 0)):
        got: list[dict[str, float]] = []

        class Counting(CSVLogger):
            def log_metrics(self, metrics, step=None, got=got):
                if any(name.startswith("host/") for name in metrics):
                    got.append(metrics)

        with FakeNVML():
            # A look at the start, and the next one in an hour.
            callback = info(interval=3600.0, to_logger=to_logger)
            fitted = trainer(callback, logger=Counting(tmp_path), log_every_n_steps=1)
            fitted.fit(Watched(callback), BoringDataModule())
        assert len(got) <= most


def test_the_progress_bar_shows_the_newest_look(tmp_path: Path) -> None:
    out = io.StringIO()
    bar = Progress(per_second=1e6, console=Console(file=out, force_terminal=True, width=120))
    with FakeNVML(FakeGPU(utilization=93, temperature=71, memory_used=int(40.2e9))):
        fit(info(devices=[0]), bar, default_root_dir=tmp_path)
    assert "GPU 93 % 71 °C 40.2/80.0 GB" in out.getvalue()


def test_its_thread_ends_with_the_fit_and_a_second_fit_has_one_of_its_own(tmp_path: Path) -> None:
    callback = info()
    with FakeNVML(FakeGPU(sm_active=50.0)) as nvml:
        fitted = fit(callback, default_root_dir=tmp_path)
        assert samplers() == []
        first = len(lines(tmp_path / "gpu.jsonl"))
        fitted.fit_loop.max_epochs = 2
        fitted.fit(Watched(callback, 4), BoringDataModule())
        fitted.test(Watched(callback), BoringDataModule(), verbose=False)
        assert nvml.open_samples == []
    assert samplers() == []
    assert len(lines(tmp_path / "gpu.jsonl")) > first
    assert said(callback).count("no GPU in use") == 1, "shown once"
    assert callback.progress_note == ""


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(tmp_path: Path, error: type[BaseException]) -> None:
    class Fails(Watched):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            raise error

    callback = info(devices=[0])
    with FakeNVML(FakeGPU(sm_active=50.0)) as nvml:
        with pytest.raises((error, SystemExit)):
            trainer(callback, default_root_dir=tmp_path).fit(Fails(callback, 1), BoringDataModule())
        assert nvml.open_samples == []
    assert samplers() == []


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"barebones": True}])
def test_a_trial_run_and_a_bare_trainer_are_not_watched(tmp_path: Path, options: dict[str, bool]) -> None:
    callback = info()
    bare = L.Trainer(
        callbacks=[callback], accelerator="cpu", max_steps=2, default_root_dir=tmp_path, **options
    )
    bare.fit(BoringModel(), BoringDataModule())
    assert said(callback) == ""
    assert not list(tmp_path.glob("**/gpu*.jsonl"))


def test_a_disk_that_is_full_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "gpu.jsonl").mkdir()
    with FakeNVML():
        fitted = fit(info(), default_root_dir=tmp_path)
    assert fitted.state.finished
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 1


@pytest.mark.parametrize("interval", [0, -1.0])
def test_an_interval_that_makes_no_sense_is_refused(interval: float) -> None:
    with pytest.raises(RequestError, match=f"interval={interval!r}"):
        GPUInfo(interval=interval)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with (
        FakeNVML(FakeGPU(), FakeGPU()),
        pytest.raises(RequestError, match="no device 2 to watch; there are 2"),
    ):
        fit(info(devices=[0, 2]), default_root_dir=tmp_path)


def test_on_a_machine_without_any_gpu_a_device_asked_for_is_no_error(tmp_path: Path) -> None:
    with FakeNVML():
        assert fit(info(devices=[0]), default_root_dir=tmp_path).state.finished
