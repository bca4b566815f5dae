"""Which modules of a trainer are models to export, and what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import lightning as L
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import nn
from torchmetrics import Metric

from nimble_lightning.errors import ExportError


@dataclass
class ExportedModel:
    """One model to export.

    Attributes:
        name: The attribute that holds it.
        module: The model itself.
        companions: Its tokenizer, processor and the like: they are saved with it.
        base: What its weights were before training, as `fingerprint` tells it; None where nobody saw them.
    """

    name: str
    module: nn.Module
    companions: list[Any] = field(default_factory=list)
    base: Mapping[str, int] | None = None

    @property
    def class_name(self) -> str:
        kind = type(self.module)
        return f"{kind.__module__}.{kind.__qualname__}"


def models_of(owner: Any) -> list[ExportedModel]:
    """The models of a trainer: what was trained, not metrics, losses, frozen teachers or parts of a model.

    A LightningModule that has a `forward` is one model; without, its own modules are.
    """
    modules = {"model": owner} if _is_callable(owner) else _attributes(owner)
    kept = {name: plain(module) for name, module in modules.items() if _has_weights(module)}
    trained = {name: m for name, m in kept.items() if any(p.requires_grad for p in m.parameters())}
    chosen = {name: m for name, m in (trained or kept).items() if not _is_part(name, m, kept)}
    if not chosen:
        raise ExportError(f"{type(owner).__name__} holds no model to export: no attribute is a torch module.")
    companions = companions_of(owner)
    return [ExportedModel(name, module, companions) for name, module in chosen.items()]


def plain(module: nn.Module) -> nn.Module:
    """The module as it was written: `torch.compile` wraps it."""
    original = getattr(module, "_orig_mod", module)
    return original if isinstance(original, nn.Module) else module


def is_hugging_face(module: nn.Module) -> bool:
    """Whether this is a model of transformers, told without importing it."""
    return any(
        kind.__name__ == "PreTrainedModel" and kind.__module__.startswith("transformers.")
        for kind in type(module).__mro__
    )


def is_adapter(module: nn.Module) -> bool:
    """Whether this is a model of PEFT around another one, told without importing it."""
    return any(
        kind.__name__ == "PeftModel" and kind.__module__.startswith("peft.") for kind in type(module).__mro__
    )


def companions_of(owner: Any) -> list[Any]:
    """Tokenizers and processors kept as attributes; processors last, as they contain the others."""
    found = [
        v for v in vars(owner).values() if hasattr(v, "save_pretrained") and not isinstance(v, nn.Module)
    ]
    return sorted(found, key=lambda value: hasattr(value, "tokenizer"))


def _attributes(owner: Any) -> dict[str, nn.Module]:
    if isinstance(owner, nn.Module):
        return dict(owner.named_children())
    return {name: value for name, value in vars(owner).items() if isinstance(value, nn.Module)}


def _is_callable(owner: Any) -> bool:
    if isinstance(owner, L.LightningModule):
        return is_overridden("forward", owner, parent=L.LightningModule)
    return isinstance(owner, nn.Module)


def _has_weights(module: nn.Module) -> bool:
    return not isinstance(module, Metric) and any(True for _ in module.parameters())


def _is_part(name: str, module: nn.Module, others: Mapping[str, nn.Module]) -> bool:
    """Whether it is inside another one, or a second name of one that came before."""
    if next(other_name for other_name, other in others.items() if other is module) != name:
        return True
    whole = (other for other in others.values() if other is not module)
    return any(part is module for other in whole for part in other.modules())
