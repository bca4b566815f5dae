r"""Rehearse the worst: faults to inject into a run, GPUs that are made up, a trainer that takes a second.

Nothing here is active by default. Add the callback to a run of yours and say what shall go wrong::

    python -m nimble_lightning trainer=my_trainer.py \
        +callbacks.faults._target_=nimble_lightning.testing.Faults \
        '+callbacks.faults.plan="kill@step=7,attempt=1; enospc@save=half"'
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.testing.fake_nvml import FakeGPU, FakeNVML
    from nimble_lightning.testing.fault_plan import Fault, parse
    from nimble_lightning.testing.faults import Faults
    from nimble_lightning.testing.tiny import TinyTrainer

__all__ = ["FakeGPU", "FakeNVML", "Fault", "Faults", "TinyTrainer", "parse"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "FakeGPU": "nimble_lightning.testing.fake_nvml",
        "FakeNVML": "nimble_lightning.testing.fake_nvml",
        "Fault": "nimble_lightning.testing.fault_plan",
        "Faults": "nimble_lightning.testing.faults",
        "TinyTrainer": "nimble_lightning.testing.tiny",
        "parse": "nimble_lightning.testing.fault_plan",
    },
)
