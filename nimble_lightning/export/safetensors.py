"""Weights as safetensors: with config and tokenizer where `from_pretrained` is to find them.

Of an adapter around another model, the adapter alone, which PEFT and transformers open on the model it names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export.compare_weights import first_difference
from nimble_lightning.export.exportable_models import ExportedModel, is_adapter, is_hugging_face

WEIGHTS = "model.safetensors"
ADAPTER = "adapter_model.safetensors"


def save(model: ExportedModel, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights, and for a Hugging Face model all that `from_pretrained` needs, into a folder.

    Args:
        model: Whose.
        folder: Where to.
        state: Other weights of the same model, from a checkpoint.
    """
    with no_bars():
        if is_adapter(model.module):
            _save_adapter(model.module, folder, state)
        elif is_hugging_face(model.module):
            more = {} if state is None else {"state_dict": dict(state)}
            model.module.save_pretrained(folder, **more)  # type: ignore[operator]
        else:
            _save_plain(model.module.state_dict() if state is None else state, folder / WEIGHTS)
        for companion in model.companions:
            companion.save_pretrained(folder)


def _save_adapter(module: Any, folder: Path, state: Mapping[str, Tensor] | None) -> None:
    config = module.peft_config[module.active_adapter]
    if Path(named := config.base_model_name_or_path or "").is_dir():
        # Whoever opens the adapter does so from another place.
        config.base_model_name_or_path = str(Path(named).resolve())
    more = {} if state is None else {"state_dict": dict(state)}
    module.save_pretrained(folder, selected_adapters=[module.active_adapter], **more)
    (folder / "README.md").unlink(missing_ok=True)  # an empty form of PEFT's; the model card is ours


def _save_plain(state: Mapping[str, Any], path: Path) -> None:
    """Tied weights are written once; the file says which name stands for which."""
    kept: dict[tuple[Any, ...], str] = {}
    tensors, aliases = {}, {}
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ExportError(f"{name} is a {type(value).__name__}; safetensors hold tensors only.")
        place = (value.data_ptr(), value.dtype, value.shape, value.stride())
        if value.numel() and place in kept:
            aliases[name] = kept[place]
            continue
        kept[place] = name
        # Two views of different parts of one tensor may not be in one file, nor may one with gaps.
        whole = value.is_contiguous() and value.untyped_storage().nbytes() == value.nbytes
        tensors[name] = (
            value.detach() if whole else value.detach().clone(memory_format=torch.contiguous_format)
        )
    save_file(tensors, str(path), metadata={"format": "pt", **aliases})


def require_same(model: ExportedModel, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
    """Read the files back and compare every tensor with the model's, bit for bit.

    Raises:
        ExportError: One of them is missing or different.
    """
    wanted = model.module.state_dict() if state is None else state
    if is_adapter(model.module):
        from peft import get_peft_model_state_dict

        wanted = get_peft_model_state_dict(model.module, dict(wanted))
        found: Mapping[str, Tensor] = tensors_of(folder / ADAPTER)
    elif is_hugging_face(model.module):
        found = from_pretrained(type(model.module), folder).state_dict()
    else:
        found = tensors_of(folder / WEIGHTS)
    difference = first_difference(wanted, found)
    if difference is not None:
        raise ExportError(f"The safetensors of {model.name} are not the model: {difference}.")


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped and not copied, each under all the names that it was saved for."""
    with safe_open(str(path), framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        aliases = file.metadata() or {}
    return {**{alias: tensors[kept] for alias, kept in aliases.items() if kept in tensors}, **tensors}


def load_into(module: nn.Module, path: Path) -> None:
    """Give a module of the same shape the weights of a file."""
    module.load_state_dict(tensors_of(path))


def from_pretrained(kind: Any, folder: Path) -> nn.Module:
    """What `from_pretrained` makes of a folder, without asking the network."""
    with no_bars():
        model: nn.Module = kind.from_pretrained(folder, local_files_only=True)
        return model


def class_called(name: str) -> Any:
    """The class of a full name; LookupError where this process cannot import it."""
    module, _, qualname = name.rpartition(".")
    try:
        return getattr(import_module(module), qualname)
    except (ImportError, AttributeError, ValueError) as error:
        raise LookupError(name) from error


@contextmanager
def no_bars() -> Iterator[None]:
    """No progress bars of transformers, if it is loaded and would show any."""
    bars = sys.modules.get("transformers.utils.logging")
    if bars is None or not bars.is_progress_bar_enabled():
        yield
        return
    bars.disable_progress_bar()
    try:
        yield
    finally:
        bars.enable_progress_bar()
