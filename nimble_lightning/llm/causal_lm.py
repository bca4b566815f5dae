"""A causal language model and its tokenizer: found, checked, ready to be trained whole or by an adapter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from nimble_lightning.errors import RequestError
from nimble_lightning.export.safetensors import no_bars
from nimble_lightning.validators.models import models

# Of the folder of a run; of one of exports.
_HOLDERS = ("best", "merged")


def place_of(name: str) -> str:
    """Where a model is: in a run's folder or one of exports, a part of it; for a name, its Hub id."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(next((folder / part for part in _HOLDERS if (folder / part).is_dir()), folder))
    if name.startswith((".", "/", "~")) or len(folder.parts) > 2:
        raise RequestError(f"model={name}: there is no such folder")
    return models.resolve(name)


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


def load_model(name: str, kind: Any = AutoModelForCausalLM, **more: Any) -> nn.Module:
    """A model as `from_pretrained` gives it; an adapter is made part of the model it is for.

    Args:
        name: Where it is.
        kind: Which of the classes of transformers that find a model's own.
        more: What that is told besides.

    Raises:
        RequestError: There is none of that name.
    """
    place, base = place_of(name), base_of(name)
    try:
        with no_bars():
            model: nn.Module = kind.from_pretrained(base, dtype=torch.float32, **more)
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
    model: nn.Module,
    rank: int,
    alpha: int | None,
    dropout: float,
    targets: str | Sequence[str],
    *,
    name: str,
    dora: bool = False,
    task: Literal["CAUSAL_LM", "SEQ_CLS"] = "CAUSAL_LM",
) -> nn.Module:
    """The model called `name` with a LoRA adapter around its layers, which alone is trained, but for a head.

    Without a rank it is the model as it is.

    Raises:
        RequestError: PEFT is missing, no layer is called so, or the model is an adapter itself.
    """
    if not rank:
        if dora:
            raise RequestError(
                "params.dora=true is of an adapter, which params.rank asks for: params.rank=16"
            )
        return model
    if base_of(name) != place_of(name):
        raise RequestError(
            f"model={name} is an adapter, and another one on top would name the wrong model as its base\n"
            "Merge it: nimble-cli export RUN --to merged --trust; then model=RUN-exported"
        )
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
        use_dora=dora,
        task_type=task,
    )
    try:
        with warnings.catch_warnings():
            # Of PEFT's own use of transformers; and of tied embeddings, which a merged export unties.
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
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
