"""Muon where it is meant for, AdamW for the rest, as one optimizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import Optimizer, ParamsT
from typing_extensions import override

from nimble_lightning.errors import RequestError
from nimble_lightning.optim.groups import Modules, TrainedParameter, as_groups, trained_parameters

_HEAD_NAME = re.compile(r"(^|[._])(head|classifier|score|qa_outputs)\.")


class MuonWithAdamW(Optimizer):
    """Hidden weight matrices by `torch.optim.Muon`, everything else by `torch.optim.AdamW`.

    Muon orthogonalises an update, which suits matrices between hidden layers; embeddings, heads, norms,
    biases and convolutions are no such matrices. One learning rate serves both, because `match_rms_adamw`
    scales Muon's steps to the size of AdamW's.

    Args:
        params: Groups with `muon` True or False, as `MuonWithAdamW.parameter_groups(model)` makes them.
        lr: For both; a rate that was tuned for AdamW fits.
        weight_decay: Decoupled, for both.
        momentum: Muon's.
        betas: AdamW's.
        adjust_lr_fn: How Muon's rate depends on a matrix's shape: `match_rms_adamw` or `original`.
        fused: Whether AdamW runs as one kernel.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        adjust_lr_fn: str = "match_rms_adamw",
        fused: bool | None = None,
    ) -> None:
        groups: list[Any] = list(params)
        if not all(isinstance(group, dict) and "muon" in group for group in groups):
            raise RequestError(
                "MuonWithAdamW has to know which weights are hidden matrices. "
                "Give it MuonWithAdamW.parameter_groups(model), or groups with muon=True or False."
            )
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas}
        super().__init__(groups, {**defaults, "adjust_lr_fn": adjust_lr_fn, "fused": fused})

    @staticmethod
    def parameter_groups(modules: Modules, *, weight_decay: float = 0.1) -> list[dict[str, Any]]:
        """Sort what is trained into what Muon takes, what AdamW decays and what AdamW does not."""
        trained = trained_parameters(modules)
        heads = _heads(trained)
        trained.sort(key=lambda one: one.name)
        hidden = [one for one in trained if _is_matrix(one) and id(one.parameter) not in heads]
        taken = {id(one.parameter) for one in hidden}
        others = [one for one in trained if id(one.parameter) not in taken]
        return as_groups(
            [
                (hidden, {"muon": True, "weight_decay": weight_decay}),
                ([one for one in others if one.decays], {"muon": False, "weight_decay": weight_decay}),
                ([one for one in others if not one.decays], {"muon": False, "weight_decay": 0.0}),
            ]
        )

    @override
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        param_group.setdefault("muon", False)
        super().add_param_group(param_group)
        self._link()

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._link()

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self._parts:
            part.step()
        return loss

    def _link(self) -> None:
        """Let torch's two optimizers work on this one's groups and state: nothing has to be kept in step."""
        common = ("lr", "weight_decay")
        muon = {key: self.defaults[key] for key in (*common, "momentum", "adjust_lr_fn")}
        adamw = {key: self.defaults[key] for key in (*common, "betas", "fused")}
        hidden = [group for group in self.param_groups if group["muon"]]
        others = [group for group in self.param_groups if not group["muon"]]
        self._parts: list[Optimizer] = []
        if hidden:
            self._parts.append(torch.optim.Muon(hidden, **muon))
        if others:
            self._parts.append(torch.optim.AdamW(others, **adamw))
        for part in self._parts:
            part.state = self.state


def _is_matrix(one: TrainedParameter) -> bool:
    looked_up = any(isinstance(owner, nn.Embedding | nn.EmbeddingBag) for owner in one.owners)
    return one.parameter.ndim == 2 and one.decays and not looked_up


def _heads(trained: list[TrainedParameter]) -> set[int]:
    """The weights that make the output: by name, else the matrix defined last."""
    matrices = [one for one in trained if _is_matrix(one)]
    named = [one for one in matrices if _HEAD_NAME.search(one.name)]
    return {id(one.parameter) for one in named or matrices[-1:]}
