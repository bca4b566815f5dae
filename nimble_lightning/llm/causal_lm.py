"""A causal language model and its tokenizer: found, checked, ready to be trained whole or by an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from nimble_lightning.errors import RequestError
from nimble_lightning.export.safetensors import no_bars

_BEST = "best"


def place_of(name: str) -> str:
    """Where a model is: of the folder of a run, what it exported."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder / _BEST if (folder / _BEST).is_dir() else folder)
    if name.startswith((".", "/", "~")) or len(folder.parts) > 2:
        raise RequestError(f"model={name}: there is no such folder")
    return name


def base_of(name: str) -> str:
    """Where the model itself is, though the name is that of an adapter for it.

    Raises:
        RequestError: It is an adapter, and PEFT is missing.
    """
    place = place_of(name)
    if not (Path(place) / "adapter_config.json").is_file():
        return place
    try:
        from peft import PeftConfig
    except ImportError:
        raise RequestError(f'model={name} is an adapter: pip install "nimble-lightning[llm]"') from None
    return str(PeftConfig.from_pretrained(place).base_model_name_or_path)


def load_model(name: str) -> nn.Module:
    """A model as `from_pretrained` gives it; an adapter is made part of the model it is for.

    Raises:
        RequestError: There is none of that name.
    """
    place, base = place_of(name), base_of(name)
    try:
        with no_bars():
            model: nn.Module = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if base == place:
            return model
        from peft import PeftModel

        merged: nn.Module = PeftModel.from_pretrained(model, place).merge_and_unload()
        return merged
    except (OSError, ValueError) as error:
        raise RequestError(f"model={name} cannot be loaded: {_first_line(error)}") from None


def load_tokenizer(name: str, template: str | None = None) -> Any:
    """Its tokenizer, with another chat template where one is given.

    Raises:
        RequestError: There is none, or it is none of the fast ones, which alone say where a token is from.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(place_of(name))
    except (OSError, ValueError) as error:
        raise RequestError(f"the tokenizer of model={name} cannot be loaded: {_first_line(error)}") from None
    if not tokenizer.is_fast:
        raise RequestError(
            f"the tokenizer of {name} is a slow one; a tokenizer.json beside the model is needed"
        )
    if template is not None:
        path = Path(template).expanduser()
        if not path.is_file():
            raise RequestError(f"params.template={template}: there is no such file")
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    return tokenizer


def require_embeddings(model: Any, tokenizer: Any) -> None:
    """Refuse a tokenizer that knows words for which the model has no place."""
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise RequestError(
            f"the tokenizer has {len(tokenizer):,} tokens and the model embeds {rows:,}\n"
            "Resize it once: model.resize_token_embeddings(len(tokenizer)); model.save_pretrained(FOLDER)"
        )


def with_adapter(
    model: nn.Module, rank: int, alpha: int | None, dropout: float, targets: str | Sequence[str]
) -> nn.Module:
    """The model with a LoRA adapter around its layers, which alone is trained.

    Raises:
        RequestError: PEFT is missing, or no layer is called so.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise RequestError(
            'params.rank asks for LoRA, which needs PEFT: pip install "nimble-lightning[llm]"'
        ) from None
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # Of PEFT's own use of transformers.
            warnings.simplefilter("ignore", FutureWarning)
            adapted: nn.Module = get_peft_model(model, config)
    except ValueError as error:
        raise RequestError(f"params.targets={targets}: {_first_line(error)}") from None
    return adapted


def noisy(embeddings: Tensor, positions: Tensor, alpha: float) -> Tensor:
    """NEFTune (arXiv:2310.05914): uniform noise, the less the longer the text and the wider the model."""
    starts = positions == 0
    text = starts.cumsum(1) - 1
    lengths = torch.zeros_like(positions).scatter_add_(1, text, torch.ones_like(positions)).gather(1, text)
    size = alpha / (lengths * embeddings.shape[-1]).sqrt()
    return embeddings + torch.empty_like(embeddings).uniform_(-1, 1) * size[..., None].to(embeddings.dtype)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
