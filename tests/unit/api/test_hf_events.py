"""What transformers hears of a step, however many ranks and batches it was made of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nimble_lightning.api.hf.hf_events import HFEvents
from nimble_lightning.api.hf.hf_steps import HFSteps


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


@pytest.mark.parametrize(
    ("counts", "labels", "weights"),
    [
        # Transformers weighs the batches of a step alike, and a piece is its share of a batch.
        (False, [1, -100], (0.5, 0.5, 1.0)),
        # Where the model takes the number of labels, they count; of a text the first predicts nothing.
        (True, [1, -100], (0.0, 0.0, 0.0)),
        (True, [1, 2, -100, 3], (4.0, 4.0, 6.0)),
    ],
)
def test_a_batch_weighs_what_it_weighs_for_transformers(
    counts: bool, labels: list[int], weights: tuple[float, ...]
) -> None:
    hf: Any = SimpleNamespace(
        args=SimpleNamespace(average_tokens_across_devices=True),
        accelerator=SimpleNamespace(),
        model=torch.nn.Linear(1, 1),
        model_wrapped=None,
        model_accepts_loss_kwargs=counts,
        compute_loss_func=None,
        _loss_shifts_labels=True,
        _prepare_inputs=lambda batch: batch,
        training_step=lambda *_: torch.ones((), requires_grad=True),
    )
    steps = HFSteps(hf, SimpleNamespace())  # type: ignore[arg-type]
    found = []
    for pieces in ([2, 2], [3]):
        steps.samples_of_batch = sum(pieces)
        found += [float(steps.train({"labels": torch.tensor([labels] * size)})[1]) for size in pieces]
    assert found == list(weights)
    assert hf.args.average_tokens_across_devices, "as it was"
