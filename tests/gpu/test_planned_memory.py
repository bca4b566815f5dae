"""What was planned, beside what a real card needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from nimble_lightning.planning.gpu_emulation import not_traced
from nimble_lightning.planning.layout import Layout
from nimble_lightning.planning.peak_memory import peak
from nimble_lightning.planning.trace import Numbers, measure, trace
from nimble_lightning.planning.weightless_model import weightless

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("default"),
]
CLOSE = 0.1


def llama() -> nn.Module:
    sizes = {
        "hidden_size": 1024,
        "intermediate_size": 2752,
        "num_attention_heads": 16,
        "num_hidden_layers": 12,
    }
    return LlamaForCausalLM(LlamaConfig(use_cache=False, **sizes))


def gpt2() -> nn.Module:
    return GPT2LMHeadModel(GPT2Config(use_cache=False, n_embd=1024, n_layer=12, n_head=16))


def convolutions() -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, 128, 3, padding=1)]
    for _ in range(12):
        layers += [nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1)]
    return nn.Sequential(*layers)


def of_words(model: nn.Module, batch: Tensor) -> Tensor:
    loss: Tensor = model(input_ids=batch, labels=batch).loss
    return loss


def of_pictures(model: nn.Module, batch: Tensor) -> Tensor:
    mean: Tensor = model(batch).mean()
    return mean


class Subject:
    steps_in_context = True

    def __init__(self, module: nn.Module, loss: Callable[[nn.Module, Any], Tensor]) -> None:
        self.module, self._loss = module, loss

    def loss(self, batch: Any) -> Tensor:
        return self._loss(self.module, batch)

    def optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.AdamW(self.module.parameters(), fused=True)]


def needed(make: Callable[[], nn.Module], loss: Any, batch: Tensor, dtype: torch.dtype | None) -> int:
    """The most that was allocated in the third of three real steps."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model, batch = make().cuda(), batch.cuda()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", dtype=dtype, enabled=dtype is not None):
            loss(model, batch).backward()
            optimizer.step()
        optimizer.zero_grad()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["full", "mixed"])
@pytest.mark.parametrize(
    ("make", "loss", "batch"),
    [
        (llama, of_words, torch.zeros(4, 1024, dtype=torch.long)),
        (gpt2, of_words, torch.zeros(4, 1024, dtype=torch.long)),
        (convolutions, of_pictures, torch.zeros(64, 3, 128, 128)),
    ],
    ids=["llama", "gpt2", "convolutions"],
)
def test_a_plan_is_within_ten_per_cent(
    make: Callable[[], nn.Module], loss: Any, batch: Tensor, dtype: torch.dtype | None
) -> None:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with weightless(mode):
        subject = Subject(make(), loss)
    with not_traced(batch):
        timeline = trace(subject, batch, mode, Numbers(autocast=dtype))
    planned = peak(measure(subject, mode), timeline, Layout()).total
    real = needed(make, loss, batch, dtype)
    print(f"planned {planned / 2**30:.3f} GiB, needed {real / 2**30:.3f} GiB")
    assert planned == pytest.approx(real, rel=CLOSE)
