"""Faults: what a plan means, and that each kind does what it says, in the process it is done to."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from forked_command import Command
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.checkpoint import fault_points
from nimble_lightning.errors import RequestError
from nimble_lightning.testing import Fault, parse
from nimble_lightning.testing.fault_plan import ANYWHERE, DISK, IN_STEP, KINDS, Occasion

HERE = Occasion(attempt=1, rank=0, step=5)
number = st.none() | st.integers(0, 10**6)


@st.composite
def faults(draw: st.DrawFn) -> Fault:
    kind = draw(st.sampled_from(KINDS))
    stage = st.sampled_from(fault_points.STAGES)
    save = draw(stage if kind in DISK else st.none() if kind in IN_STEP else st.none() | stage)
    return Fault(
        kind,
        step=draw(number),
        save=save,
        attempt=draw(st.none() | st.integers(1, 99)),
        rank=draw(number),
        p=draw(st.floats(0, 1)),
        times=draw(st.integers(1, 9)),
        error=draw(st.sampled_from(["RuntimeError", "ValueError", "OSError"])),
    )


@given(st.lists(faults(), max_size=4))
def test_a_plan_reads_as_it_is_written(plan: list[Fault]) -> None:
    assert list(parse("; ".join(map(str, plan)))) == plan


@given(st.text(max_size=40))
def test_any_other_text_is_read_or_refused_and_never_a_crash(text: str) -> None:
    with suppress(RequestError):
        parse(text)


def test_the_documented_plan_means_what_it_says() -> None:
    text = "kill@step=7,attempt=1;raise@step=9,rank=1;enospc@save=replace;kill@save=half;hang@step=5,p=0.2"
    assert parse(text) == (
        Fault("kill", step=7, attempt=1),
        Fault("raise", step=9, rank=1),
        Fault("enospc", save="replace"),
        Fault("kill", save="half"),
        Fault("hang", step=5, p=0.2),
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("kil@step=1", "kill"),
        ("kill@stp=1", "step"),
        ("kill@step", "key=value"),
        ("kill@step=soon", "number"),
        ("kill@step=1,step=2", "twice"),
        ("kill@step=-1", "0 or more"),
        ("kill@attempt=0", "1 or more"),
        ("kill@p=1.5", "from 0 to 1"),
        ("kill@p=nan", "from 0 to 1"),
        ("enospc@step=3", "enospc@save=half"),
        ("nan@save=half", "nan@step=3"),
        ("kill@save=middle", "half"),
        ("raise@error=SystemExit", "ValueError"),
    ],
)
def test_a_mistake_in_a_plan_is_named_with_its_remedy(text: str, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        parse(text)


@pytest.mark.parametrize("elsewhere", [{"step": 6}, {"attempt": 2}, {"rank": 1}, {"save": "half"}])
def test_a_fault_strikes_only_where_it_is_meant_to(elsewhere: dict[str, int]) -> None:
    fault = Fault("raise", step=5, attempt=1, rank=0)
    assert fault.strikes(HERE)
    assert not fault.strikes(HERE._replace(**elsewhere))


def test_a_fault_without_a_place_strikes_in_any_step_of_any_attempt_on_any_rank() -> None:
    assert all(Fault("raise").strikes(Occasion(a, r, s)) for a in (1, 9) for r in (0, 3) for s in (0, 7))


def test_chance_is_seeded_alike_on_all_ranks_and_as_likely_as_asked() -> None:
    fault = Fault("raise", step=5, p=0.2)
    struck = [a for a in range(1, 2001) if fault.strikes(HERE._replace(attempt=a))]
    assert struck == [a for a in range(1, 2001) if fault.strikes(Occasion(a, 3, 5))]
    assert 340 < len(struck) < 460
    other = [a for a in range(1, 2001) if fault.strikes(HERE._replace(attempt=a), seed=1)]
    assert other != struck
    assert not any(replace(fault, p=0.0).strikes(HERE._replace(attempt=a)) for a in range(1, 99))


RUN = """
import sys
import torch
from nimble_lightning.testing.faults import strike
from nimble_lightning.testing import parse
torch.set_num_threads(1)
for fault in parse(sys.argv[1]):
    print("ready", flush=True)
    strike(fault, "here")
print("went on", flush=True)
"""


def started(plan: str) -> Command:
    """A process in which a fault is about to strike."""
    process = Command(plan, source=RUN)
    assert waited_for(lambda: process.said == "ready\n")
    return process


def waited_for(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize(("kind", "number"), [("kill", signal.SIGKILL), ("term", signal.SIGTERM)])
def test_a_signal_ends_the_process_as_from_outside(kind: str, number: int) -> None:
    assert started(kind).end(20).returncode == -number


@pytest.mark.parametrize("kind", ["hang", "spin"])
def test_a_process_that_hangs_ends_only_when_it_is_killed(kind: str) -> None:
    process = started(kind)
    time.sleep(0.3)
    assert (process.running, process.said) == (True, "ready\n")
    process.kill()
    assert not process.running


def test_a_stopped_process_goes_on_when_it_is_told_to() -> None:
    process = started("stop")
    assert waited_for(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGCONT)
    assert process.end(20).stdout == "ready\nwent on\n"


def test_every_kind_is_carried_out_by_one_test_here() -> None:
    assert set(KINDS) == {"raise", "kill", "term", "stop", "hang", "spin", "oom", "nan", *DISK}
    assert set(ANYWHERE) | set(IN_STEP) | set(DISK) == set(KINDS)


@pytest.mark.parametrize("kind", DISK)
def test_an_error_of_the_disk_carries_its_number(kind: str) -> None:
    from nimble_lightning.testing.faults import error_of

    error = error_of(Fault(kind, save="half"), "here")
    assert isinstance(error, OSError)
    assert error.errno == getattr(errno, kind.upper())


def test_importing_is_cheap_and_changes_nothing() -> None:
    code = (
        "import sys, os, nimble_lightning.testing as t; from nimble_lightning.checkpoint import fault_points;"
        "assert not {'torch', 'lightning'} & sys.modules.keys(); assert fault_points.set_hook(None) is None"
    )
    environment = {**os.environ, "NIMBLE_FAULTS": "kill@step=0"}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


# --- the callback, in runs of Lightning ---


def fit(folder: Path, faults: object, **options: object) -> object:
    import lightning as L

    import nimble_lightning as nl
    from nimble_lightning.checkpoint import NimbleCheckpointIO
    from nimble_lightning.testing import TinyTrainer

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=2,
        enable_checkpointing=False,
        plugins=[NimbleCheckpointIO()],
        callbacks=[faults],  # type: ignore[list-item]
        **{**quiet, **options},  # type: ignore[arg-type]
    )
    module, data = nl.adapt(TinyTrainer())
    trainer.fit(module, datamodule=data)
    return trainer


@pytest.mark.parametrize("error", ["RuntimeError", "ValueError"])
def test_an_exception_is_raised_at_the_step_it_was_asked_for(tmp_path: Path, error: str) -> None:
    from nimble_lightning.testing import Faults

    with pytest.raises(Exception, match="rehearsed at step 4") as caught:
        fit(tmp_path, Faults(f"raise@step=4,error={error}"))
    assert type(caught.value).__name__ == error


def test_running_out_of_memory_is_met_inside_the_step_where_it_can_be_redone(tmp_path: Path) -> None:
    from nimble_lightning.testing import Faults

    trainer = fit(tmp_path, Faults("oom@step=3,times=2"))
    assert trainer.global_step == 6  # type: ignore[attr-defined]
    assert trainer.lightning_module.stepping.pieces.size == 8  # type: ignore[attr-defined]


def test_nan_spoils_the_loss_and_every_gradient() -> None:
    import torch

    from nimble_lightning.testing.faults import spoil

    weights = torch.ones(3, requires_grad=True)
    loss = weights.exp().sum().exp()
    spoil(loss)
    loss.backward()
    assert loss.isnan()
    assert weights.grad is not None
    assert weights.grad.isnan().all()


def test_the_attempt_is_read_from_the_run_or_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nimble_lightning.testing import Faults
    from nimble_lightning.testing.faults import attempt_of

    assert attempt_of(tmp_path) == 1
    (tmp_path / "run.json").write_text(json.dumps({"attempts": [{}, {}]}))
    assert attempt_of(tmp_path) == 2
    fit(tmp_path, Faults("raise@attempt=1"))
    monkeypatch.setenv("NIMBLE_ATTEMPT", "3")
    assert attempt_of(tmp_path) == 3


def test_the_environment_is_asked_only_where_no_plan_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    from nimble_lightning.testing import Faults

    monkeypatch.setenv("NIMBLE_FAULTS", "raise@step=2")
    assert Faults().plan == (Fault("raise", step=2),)
    assert Faults("").plan == ()
    assert Faults(["nan@step=1", "oom@step=2"]).plan == (Fault("nan", step=1), Fault("oom", step=2))


def test_a_fault_in_a_save_strikes_at_its_stage_once_and_the_hook_is_taken_away(tmp_path: Path) -> None:
    import lightning as L

    from nimble_lightning.testing import Faults

    class Saves(L.Callback):
        failures: list[int | None] = []

        def on_train_batch_start(self, trainer: L.Trainer, *_: object) -> None:
            try:
                trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")
            except OSError as error:
                self.failures.append(error.errno)

    saves = Saves()

    class Both(Faults):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
            saves.on_train_batch_start(trainer)

    fit(tmp_path, Both("enospc@save=half,step=2"))
    assert saves.failures == [errno.ENOSPC]
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [f"{n}.ckpt" for n in (0, 1, 3, 4, 5)]
    assert fault_points.set_hook(None) is None
