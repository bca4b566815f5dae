"""Where in a run a checkpoint stands, read from the checkpoint itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the manifest says about the run.

    Args:
        step: Optimizer steps done.
        epoch: Epochs begun, counted from 0.
        samples: Training samples consumed by all ranks, where the run counts them.
        run_id: The run it belongs to, if it belongs to one.
        attempt: Which attempt of the run wrote it.
        device: Type of the device that held the weights.
    """

    step: int = 0
    epoch: int = 0
    samples: int | None = None
    run_id: str | None = None
    attempt: int | None = None
    device: str = "cpu"

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> RunFacts:
        """Read them from Lightning's keys and from our own, ``checkpoint["nimble"]``."""
        own = checkpoint.get("nimble", {})
        weights = checkpoint.get("state_dict", {}).values()
        devices = (weight.device.type for weight in weights if hasattr(weight, "device"))
        return cls(
            step=checkpoint.get("global_step", 0),
            epoch=checkpoint.get("epoch", 0),
            samples=own.get("samples"),
            run_id=own.get("run_id"),
            attempt=own.get("attempt"),
            device=next(devices, "cpu"),
        )
