"""Make the optimizer and the schedule a run asks for."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from nimble_lightning.errors import RequestError
from nimble_lightning.optim.groups import Modules, parameter_groups
from nimble_lightning.optim.muon import MuonWithAdamW
from nimble_lightning.optim.resolve import Call, Spec, resolve
from nimble_lightning.optim.schedules import constant

# Whose kernels torch can run on weights that are cut up; the AdamW within Muon's is one of them.
_FUSED_IN_PARTS = (torch.optim.Adam, torch.optim.AdamW, MuonWithAdamW)


def build_optimizer(modules: Modules, spec: Spec | None = None, *, lr: float | None = None) -> Optimizer:
    """Build an optimizer for everything trainable in `modules`.

    Args:
        modules: A module, modules by name, or several modules.
        spec: Settings with `_target_`, a `functools.partial`, or a callable that takes parameter groups;
            none means AdamW.
        lr: The rate where `spec` leaves it open (`lr: null`); without one, the optimizer's own default.

    Raises:
        RequestError: If there is nothing to train, or the optimizer cannot be made from these settings.
    """
    call = resolve("optim", torch.optim.AdamW if spec is None else spec)
    arguments = call.arguments
    rate = lr if arguments.get("lr") is None else arguments["lr"]
    arguments.pop("lr", None)
    if rate is not None and call.takes("lr"):
        arguments["lr"] = _rate(rate)
    groups = _groups(call, modules)
    if not groups:
        raise RequestError(
            "There is nothing to train: no module has a parameter with requires_grad. "
            "Keep your model as an attribute, for example self.model = Net(), in pre_process."
        )
    _prefer_fused(call, groups)
    optimizer = call(groups)
    if not isinstance(optimizer, Optimizer):
        raise RequestError(
            f"optim: {call.name} made a {type(optimizer).__name__}, not an Optimizer of torch."
        )
    return optimizer


def build_schedule(
    optimizer: Optimizer,
    spec: Spec | None = None,
    *,
    total_steps: float | None = None,
    steps_per_epoch: int | None = None,
    mode: str | None = None,
) -> LRScheduler:
    """Build a learning-rate schedule; constant if `spec` is none.

    It is stepped after each optimizer step, but a `ReduceLROnPlateau` after each evaluation, with its metric.

    Args:
        optimizer: Whose rate it sets.
        spec: As in `build_optimizer`.
        total_steps: Optimizer steps in the whole run; infinity, -1 or none when it has no known end.
        steps_per_epoch: For schedules that ask for it.
        mode: Which way the monitored metric improves, `min` or `max`, if `spec` says `mode: null`.

    Raises:
        RequestError: If the schedule needs the number of steps and there is none, or its settings are wrong.
    """
    call = resolve("schedule", constant if spec is None else spec)
    known = total_steps is not None and math.isfinite(total_steps) and total_steps > 0
    call.offer("total_steps", int(total_steps) if known and total_steps else None)
    call.offer("steps_per_epoch", steps_per_epoch)
    # Some schedules of torch mean something else by `mode`, so it is only filled in where it was left open.
    if "mode" in call.arguments:
        call.offer("mode", mode or "min")
    schedule = call(optimizer)
    if not isinstance(schedule, LRScheduler):
        raise RequestError(
            f"schedule: {call.name} made a {type(schedule).__name__}, not an LRScheduler of torch."
        )
    return schedule


def _groups(call: Call, modules: Modules) -> list[dict[str, Any]]:
    decay = call.value("weight_decay") or 0.0
    own = getattr(call.target, "parameter_groups", None)
    if own is not None:
        groups: list[dict[str, Any]] = own(modules, weight_decay=decay)
        return groups
    groups = parameter_groups(modules, weight_decay=decay)
    if not call.takes("weight_decay"):
        for group in groups:
            del group["weight_decay"]
    return groups


def _prefer_fused(call: Call, groups: list[dict[str, Any]]) -> None:
    """Ask for the one-kernel implementation where there is one, unless the settings chose."""
    if call.arguments.get("fused", False) is None:
        del call.arguments["fused"]
    if not call.takes("fused") or call.arguments.keys() & {"fused", "foreach", "differentiable"}:
        return
    # Not every torch we support has a CUDA kernel for a fused Adagrad.
    devices = {"cpu"} if call.target is torch.optim.Adagrad else {"cpu", "cuda"}
    parameters = [one for group in groups for one in group["params"]]
    if call.target not in _FUSED_IN_PARTS and any(isinstance(one, DTensor) for one in parameters):
        return
    if all(one.device.type in devices and one.is_floating_point() for one in parameters):
        call.arguments["fused"] = True


def _rate(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise RequestError(
            f"The learning rate is {value!r}; expected a number such as 1e-3. Set optim.lr or self.lr."
        )
    return float(value)
