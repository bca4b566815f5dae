"""What Lightning does at the start of a training batch, where checkpoints are taken."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import lightning as L


def settle(checkpoint: dict[str, Any]) -> bool:
    """Make the counters those of the end of the step before; returns whether they were between two steps.

    At the start of a batch Lightning has counted it already; it will be counted again when it is trained.
    """
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    between = False
    for counters in (progress["current"], progress["total"]):
        if counters["ready"] == counters["started"] + 1:
            counters["ready"] -= 1
            between = True
    if between:
        # Known as soon as a batch is fetched; kept, it would end the epoch before that batch.
        progress["is_last_batch"] = False
    return between


def go_straight_on(trainer: L.Trainer) -> None:
    """Have a resumed loop begin with a training step.

    Where a validation was due just before, Lightning first makes a pass without a batch, to validate or to
    find that it need not; the pass counts a step in the loggers and moves a plateau schedule all the same.
    Between two steps nothing is left to be made up for.
    """
    loop = trainer.fit_loop.epoch_loop
    begin = loop.on_run_start

    def once(data_fetcher: Any) -> None:
        begin(data_fetcher)
        del loop.on_run_start
        loop.restarting = False

    loop.on_run_start = once  # type: ignore[method-assign]


def end_again(trainer: L.Trainer, ended: Collection[int]) -> None:
    """Have a fit that is resumed at its very end come to its end, where Lightning would leave it out.

    What `on_train_end` does comes after the checkpoint that was resumed from, and may have failed.

    Args:
        trainer: Which is about to fit.
        ended: Steps at which the training has come to its end before.
    """
    loop = trainer.fit_loop
    run = loop.run

    def end() -> None:
        del loop.run
        loop.setup_data()
        step = trainer.global_step
        if not (step and step not in ended and loop.max_batches and loop.skip):
            run()
            return
        loop.reset()
        loop.on_run_start()
        loop.restarting = False
        loop.on_run_end()

    loop.run = end  # type: ignore[method-assign]


def vote_alone(trainer: L.Trainer) -> None:
    """Spare Lightning's own question to all ranks before every batch, for which a GPU has to catch up.

    It asks for what its handler of SIGTERM noted; while ours is in its place there is nothing to be told.
    """
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _ask_nobody  # type: ignore[method-assign]


def vote_with_others(trainer: L.Trainer) -> None:
    """Let Lightning ask again."""
    vars(trainer.fit_loop.epoch_loop).pop("_broadcast_sigterm_tensor", None)


def _ask_nobody() -> None:
    """Nobody could have heard anything."""
