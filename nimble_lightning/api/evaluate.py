"""`nl.evaluate` and `nl.predict`: what a run's weights come to on its data, or on other data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nimble_lightning.api.prediction_file import Row
from nimble_lightning.api.trained_model import Changes, trained_model
from nimble_lightning.runs.trust import TrustTerms


def evaluate(
    run: str | os.PathLike[str],
    data: Any = None,
    *,
    params: Mapping[str, Any] | None = None,
    lightning: Mapping[str, Any] | None = None,
    key: str | None = None,
    trainer: str | None = None,
    trust: bool = False,
) -> dict[str, float]:
    """The figures of a run's best weights, each sample counted once, on one device.

    Args:
        run: A run folder, or one checkpoint in it.
        data: Other data for the trainer's parameter `data`: a file, a list of them; or settings of the data,
            `{"eval_batch_size": 64}`.
        params: Other keywords for `pre_process`.
        lightning: Arguments of Lightning's Trainer, `{"accelerator": "cpu"}`.
        key: The public half of the key that has to have signed the run.
        trainer: The trainer's file, which is run; with a key it has to be the one that was signed.
        trust: Run the trainer that the folder names, though nobody vouches for it but you.

    Example::

        nl.evaluate("outputs/digits/first", trust=True)["accuracy"]
    """
    with trained_model(
        Path(run), TrustTerms(key, trainer, trust), _changes(params, data, lightning)
    ) as model:
        return model.evaluate()


def predict(
    run: str | os.PathLike[str],
    data: Any = None,
    *,
    params: Mapping[str, Any] | None = None,
    lightning: Mapping[str, Any] | None = None,
    key: str | None = None,
    trainer: str | None = None,
    trust: bool = False,
) -> list[Row]:
    """One row a sample, in the order of the data, of what the trainer's `predict(batch)` returns.

    The data are its `predict_data`, else `test_data`, else `eval_data`. The arguments are as of `evaluate`.

    Example::

        [row["prediction"] for row in nl.predict("outputs/digits/first", trust=True)]
    """
    rows: list[Row] = []
    with trained_model(
        Path(run), TrustTerms(key, trainer, trust), _changes(params, data, lightning)
    ) as model:
        model.predict(rows.extend)
    return rows


def _changes(params: Mapping[str, Any] | None, data: Any, lightning: Mapping[str, Any] | None) -> Changes:
    given = dict(params or {})
    if data is not None and not isinstance(data, Mapping):
        given["data"], data = data, None
    return Changes(given, data or {}, lightning or {})
