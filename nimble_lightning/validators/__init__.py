"""What turns the final figures of a run into a verdict. Names are loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.validators.baseline import Baseline
    from nimble_lightning.validators.comparison import Comparison
    from nimble_lightning.validators.criteria import Criteria
    from nimble_lightning.validators.evaluated_run import Run
    from nimble_lightning.validators.holdout import Holdout
    from nimble_lightning.validators.measurement import Measured
    from nimble_lightning.validators.replay import Replay
    from nimble_lightning.validators.threshold import Threshold
    from nimble_lightning.validators.verdict import NoValidator, Validator, Verdict

__all__ = [
    "Baseline",
    "Comparison",
    "Criteria",
    "Holdout",
    "Measured",
    "NoValidator",
    "Replay",
    "Run",
    "Threshold",
    "Validator",
    "Verdict",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Baseline": "nimble_lightning.validators.baseline",
        "Comparison": "nimble_lightning.validators.comparison",
        "Criteria": "nimble_lightning.validators.criteria",
        "Holdout": "nimble_lightning.validators.holdout",
        "Measured": "nimble_lightning.validators.measurement",
        "NoValidator": "nimble_lightning.validators.verdict",
        "Replay": "nimble_lightning.validators.replay",
        "Run": "nimble_lightning.validators.evaluated_run",
        "Threshold": "nimble_lightning.validators.threshold",
        "Validator": "nimble_lightning.validators.verdict",
        "Verdict": "nimble_lightning.validators.verdict",
    },
)
