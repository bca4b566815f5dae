"""A small Llama with and without weights, and a subject to trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import LlamaConfig, LlamaForCausalLM

from nimble_lightning.planning.weightless_model import weightless

LAYERS, WORDS = 4, 512
UNITS = tuple(f"model.layers.{number}" for number in range(LAYERS))


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            num_hidden_layers=LAYERS,
            hidden_size=128,
            intermediate_size=344,
            num_attention_heads=4,
            vocab_size=WORDS,
            use_cache=False,
        )
    )


def words(samples: int, length: int = 128) -> Tensor:
    return torch.zeros(samples, length, dtype=torch.long)


def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
    loss: Tensor = model(input_ids=batch, labels=batch).loss
    return loss


class Subject:
    """Any module with a loss and AdamW."""

    steps_in_context = True

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[nn.Module, Any], Tensor] = loss_of,
        optimizer: Callable[..., Any] = torch.optim.AdamW,
    ) -> None:
        self.module, self._loss, self._optimizer = module, loss, optimizer

    def loss(self, batch: Any) -> Tensor:
        return self._loss(self.module, batch)

    def optimizers(self) -> list[Any]:
        return [self._optimizer(self.module.parameters())]


def empty(make: Callable[[], nn.Module], **how: Any) -> tuple[Subject, FakeTensorMode]:
    """A subject without weights."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with weightless(mode):
        return Subject(make(), **how), mode
