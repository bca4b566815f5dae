"""Which modules train in training mode."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

log = logging.getLogger(__name__)

# To which the mode makes a difference.
_LAYERS = (_NormBase, _DropoutNd)


def set_training_mode(module: nn.Module, name: str) -> None:
    """Put a module into training mode, as every training loop does.

    `from_pretrained` gives models in eval mode, where dropout and gradient checkpointing do nothing.

    What was put into eval mode on purpose stays in it: a part of which no parameter is trained, and a layer
    by itself among others in training mode.
    """
    stays = dict(_stays(name, module, True))
    modes = [(part, part.training) for kept in stays.values() for part in kept.modules()]
    module.train()
    for part, mode in modes:
        part.training = mode
    if stays:
        log.info("left in eval mode, in which they are frozen: %s", ", ".join(stays))


def _stays(name: str, module: nn.Module, parent_trains: bool) -> Iterator[tuple[str, nn.Module]]:
    if not module.training and _is_on_purpose(module, parent_trains):
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _stays(f"{name}.{child_name}", child, module.training)


def _is_on_purpose(module: nn.Module, parent_trains: bool) -> bool:
    trained = [parameter.requires_grad for parameter in module.parameters()]
    frozen = bool(trained) and not any(trained)
    if parent_trains:
        layer = type(module).__module__.startswith("torch.nn.") and not any(True for _ in module.children())
        return isinstance(module, _LAYERS) if layer else frozen
    # Of what is in eval mode as a whole a part may be a frozen model or batch norm. Other layers without
    # anything to train lie between those of adapters.
    return frozen and (hasattr(module, "save_pretrained") or isinstance(module, _NormBase))
