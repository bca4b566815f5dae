"""Every text model of the installed transformers, small enough to take a step in a moment."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.models.auto import modeling_auto as auto

_KINDS = ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM")
_MOST_PARAMETERS = 20_000_000
# What configurations call their sizes.
_SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("intermediate_size", "d_ff", "ffn_dim", "n_inner", "d_inner"), 64),
    **dict.fromkeys(("decoder_ffn_dim", "encoder_ffn_dim", "moe_intermediate_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "vocab_size"), 64),
    **{"num_key_value_heads": 2, "head_dim": 8, "num_experts_per_tok": 2, "use_cache": False},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    **{"image_size": 32, "patch_size": 8, "state_size": 8, "sliding_window": 8},
}


def text_models() -> dict[str, str]:
    """Names of classes, each with the type of its configuration."""
    found: dict[str, str] = {}
    for kind in _KINDS:
        for config_type, names in getattr(auto, f"MODEL_FOR_{kind}_MAPPING_NAMES").items():
            for name in [names] if isinstance(names, str) else names:
                found.setdefault(name, config_type)
    return found


def tiny(name: str, config_type: str) -> nn.Module:
    """The model in double precision where its kernels have it.

    Raises:
        Exception: Whatever keeps one of this size from being made; some have sizes only together.
    """
    make = getattr(transformers, name)
    config = _shrunk(CONFIG_MAPPING[config_type])
    with torch.device("meta"):
        size = sum(p.numel() for p in make(config).parameters())
    if size > _MOST_PARAMETERS:
        raise ValueError("its configuration has sizes of other names")
    torch.manual_seed(0)
    model: nn.Module = make(config).eval()
    try:
        model.double()(**texts())
    except RuntimeError:
        model.float()
    loss = float(model(**texts()).loss.detach())
    if not math.isfinite(loss):
        raise ValueError(f"its loss is {loss}")
    return model


def texts() -> dict[str, Tensor]:
    """Six of unequal length; what comes before the answer counts in all but one."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 60, (6, 12), generator=generator)
    mask = torch.arange(12) < torch.tensor([12, 9, 3, 11, 5, 2])[:, None]
    labels = ids.masked_fill(~mask, -100)
    labels[1, :4] = -100
    return {"input_ids": ids * mask, "attention_mask": mask.long(), "labels": labels}


def _shrunk(config_class: type[PretrainedConfig]) -> Any:
    known = inspect.signature(config_class).parameters.keys() | config_class.attribute_map.keys()
    sizes = {name: size for name, size in _SMALL.items() if name in known}
    for name, part in (config_class.sub_configs or {}).items():
        part_class = part if issubclass(part, PretrainedConfig) else type(getattr(config_class(), name))
        sizes[name] = _shrunk(part_class).to_dict()
    return config_class(**sizes)
