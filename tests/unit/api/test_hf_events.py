"""What transformers hears of a step, however many ranks and batches it was made of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nimble_lightning.api.hf.hf_events import HFEvents


def heard(batches: list[tuple[float, float]], items: float, ranks: int) -> Any:
    """The HFTrainer of a rank after a step of these mean losses and items.

    Args:
        batches: On this rank.
        items: Of all ranks.
        ranks: How many there are.
    """
    control = SimpleNamespace(
        should_log=False, should_evaluate=False, should_save=False, should_training_stop=False,
        should_epoch_stop=False,
    )  # fmt: skip
    names = ("on_step_begin", "on_substep_end", "on_optimizer_step", "on_step_end")
    hf: Any = SimpleNamespace(
        args=SimpleNamespace(world_size=ranks, logging_nan_inf_filter=True),
        state=SimpleNamespace(global_step=4, epoch=0.0),
        control=control,
        callback_handler=SimpleNamespace(**{name: lambda *_: control for name in names}),
        _tr_loss=torch.tensor(0.0),
        _count_work=lambda batch: None,
        _globalstep_last_logged=0,
    )
    events = HFEvents(hf, SimpleNamespace(), SimpleNamespace(steps_in_epoch=8))  # type: ignore[arg-type]
    events._step, trainer = 4, SimpleNamespace(global_step=4, current_epoch=2)
    for number, (loss, own) in enumerate(batches):
        trainer.global_step += number == len(batches) - 1
        events._engine = SimpleNamespace(
            done=SimpleNamespace(loss=torch.tensor(loss), items=own, total=items)
        )
        events.on_train_batch_end(trainer, SimpleNamespace(), None, {}, number)  # type: ignore[arg-type]
    return hf


def test_the_mean_over_ranks_is_the_loss_over_all_items() -> None:
    """Which is what transformers makes of them when it logs."""
    of_ranks = [[(1.0, 3.0), (2.0, 1.0)], [(4.0, 2.0), (0.5, 4.0)]]
    found = [heard(batches, 10.0, 2) for batches in of_ranks]
    whole = sum(loss * own for batches in of_ranks for loss, own in batches) / 10.0
    assert sum(float(hf._tr_loss) for hf in found) / 2 == pytest.approx(whole)
    assert [(hf.state.global_step, hf.state.epoch) for hf in found] == [(5, 2 + 2 / 8)] * 2


def test_a_loss_that_is_no_number_counts_as_the_mean_since_the_last_row() -> None:
    hf = heard([(float("nan"), 2.0)], 2.0, 1)
    assert float(hf._tr_loss) == 0.0
