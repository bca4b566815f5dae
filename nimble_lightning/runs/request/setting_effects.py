"""Which settings act on what is trained. What was asked for and would change nothing is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nimble_lightning.errors import RequestError
from nimble_lightning.report import shipped_defaults
from nimble_lightning.runs.request.setting_blocks import GROUPS

Kind = Literal["steps", "whole", "module", "function"]

_OPTIMIZER = ("optim", "schedule")
# Of the adapters, which stand between the four methods and Lightning.
_ADAPTED = (*_OPTIMIZER, "clip", "model", "data", "evaluation")
# How many processes there are, and where, is decided before anything is trained.
_PROCESSES = ("lightning.accelerator", "lightning.devices", "lightning.num_nodes")
# What needs a Trainer of Lightning's that trains.
_FITTED = ("data", "lightning", "strategy", "monitor", "mode", "logger", "checkpoints")
_FITTED_CALLBACKS = ("best_checkpoint", "early_stopping", "ema", "exact_resume", "non_finite")
# How data made here are shared out and shuffled is decided elsewhere.
_SHARED_OUT = ("lightning.use_distributed_sampler", "callbacks.exact_resume.seed")
# Of the process that starts the run and stays beside it.
_SUPERVISED = tuple(f"callbacks.auto_retry.{name}" for name in ("max_retries", "hang_seconds", "max_time"))
_INSTEAD = {
    "clip": "lightning.gradient_clip_val=1.0 does it there",
    "data": "its data module makes the batches: params.NAME reaches its constructor",
    "model": "do it in its configure_model",
    "evaluation": "lightning.val_check_interval and its own hooks decide there",
}


@dataclass(frozen=True)
class Trained:
    """What is trained, as far as settings depend on it.

    Attributes:
        name: Of the class or function.
        kind: "steps" for four methods on batches; "whole" where `train` is called once and trains by itself;
            "module" for a LightningModule, "function" for what returns one with its data.
        own_optimizer: Whether it has a configure_optimizers.
        returns: Of a whole run, whether something comes back that might be a LightningModule to fit.
    """

    name: str
    kind: Kind
    own_optimizer: bool = False
    returns: bool = True

    def refuse(self, asked: Iterable[str], config: Mapping[str, Any]) -> None:
        """Refuse the first of the settings that would change nothing.

        Args:
            asked: The keys that were asked for, those of groups among them.
            config: The configuration; what was turned off does not act, as was wished.

        Raises:
            RequestError: It says why, and where the wish would be heard.
        """
        for key in asked:
            if not _is_on(key, config):
                continue
            if why := self._why_not(key) or _why_not_with(config, key):
                raise RequestError(f"{key} would change nothing: {why}")

    def _why_not(self, key: str) -> str:
        head = key.partition(".")[0]
        if self.kind != "module" and head == "datamodule":
            return f"the data are what {self.name} brings; a LightningModule would take it"
        if self.kind in ("module", "function") and head in _ADAPTED:
            instead = _INSTEAD.get(head, "its configure_optimizers decides")
            is_one = "is" if self.kind == "module" else "returns"
            return f"{self.name} {is_one} a LightningModule; {instead}"
        if self.kind == "steps" and head in _OPTIMIZER and self.own_optimizer:
            return (
                f"{self.name}.configure_optimizers decides\n"
                "Choose there (a keyword of pre_process makes it a setting), or leave that method out"
            )
        if self.kind == "steps" and key in _SHARED_OUT:
            return f"each rank has its share of the data of {self.name}, in an order that seed=N decides"
        needs_fit = _is_of_a_fit(key) and not self.returns
        if self.kind == "whole" and (needs_fit or head in set(_ADAPTED) - {"data"}):
            return (
                f"{self.name}.train(**kwargs) trains by itself\n"
                "Give it what it is to use as params.NAME, or write train(self, batch)"
            )
        return ""


def unheard(asked: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """Those of the settings that only a fit of Lightning's would have obeyed."""
    return [key for key in asked if _is_of_a_fit(key) and _is_on(key, config)]


def unwatched(asked: Iterable[str]) -> list[str]:
    """Those of the settings that only a process beside the one that trains would have obeyed."""
    return [key for key in asked if key in _SUPERVISED]


def asked_in(settings: Mapping[str, Any]) -> list[str]:
    """The dotted names of what is set in nested settings."""
    return [".".join(path) for path, _ in shipped_defaults.leaves(settings)] if settings else []


def differing(config: Mapping[str, Any]) -> Iterator[str]:
    """The keys that are not as shipped."""
    usual = dict(shipped_defaults.leaves(shipped_defaults.defaults()))
    for path, value in shipped_defaults.leaves(config):
        if path not in usual or usual[path] != value:
            yield ".".join(path)


def _why_not_with(config: Mapping[str, Any], key: str) -> str:
    """Why a key changes nothing beside the others."""
    clips = _value_of("lightning.gradient_clip_val", config) is not None
    if key == "lightning.gradient_clip_algorithm" and not clips:
        return (
            "there is no lightning.gradient_clip_val, which it goes with\n"
            "For a trainer of four methods, clip.norm=1.0 or clip.value=0.5 says both"
        )
    for unit in ("epochs", "steps"):
        if key == f"lightning.min_{unit}" and (most := _most(unit, config)) < _value_of(key, config):
            return f"the run ends after lightning.max_{unit}={most:g}\nGive a larger lightning.max_{unit}"
    return ""


def _most(unit: str, config: Mapping[str, Any]) -> float:
    limit = _value_of(f"lightning.max_{unit}", config)
    return math.inf if limit in (None, -1) else float(limit)


def _is_of_a_fit(key: str) -> bool:
    head, _, rest = key.partition(".")
    if head == "callbacks":
        return rest.partition(".")[0] in _FITTED_CALLBACKS
    return head in _FITTED and not key.startswith(_PROCESSES)


def _is_on(key: str, config: Mapping[str, Any]) -> bool:
    """Whether a key says more than that something is off."""
    head, _, rest = key.partition(".")
    if head in GROUPS:
        member = rest.partition(".")[0]
        members = _value_of(head, config) or {}
        return bool(members.get(member) if member else members)
    # Somebody's `false` may be the opposite of what is done, rather than nothing.
    off = _value_of(key, config) in (None, False)
    return not off or key in shipped_defaults.groups() or key in _SHARED_OUT


def _value_of(key: str, config: Mapping[str, Any]) -> Any:
    """What a configuration has under a dotted name; None where it has nothing."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node
