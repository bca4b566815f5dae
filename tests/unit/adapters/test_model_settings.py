"""Settings of a model leave its numbers and its keys alone."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nimble_lightning.adapters.model_settings import (
    Recomputed,
    compile_cache,
    compile_modules,
    enable_gradient_checkpointing,
)
from nimble_lightning.errors import RequestError


class Block(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(0.3)
        self.calls = 0

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        self.calls += 1
        return x + scale * self.dropout(torch.relu(self.norm(self.linear(x))))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, scale=0.5)
        return self.head(x)


def make_net() -> Net:
    torch.manual_seed(0)
    return Net()


def run(model: Callable[[Tensor], Tensor]) -> Tensor:
    torch.manual_seed(1)
    model(torch.randn(16, 8)).square().mean().backward()
    return torch.rand(3)


def assert_same(one: nn.Module, other: nn.Module) -> None:
    assert list(one.state_dict()) == list(other.state_dict())
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    for (name, p), q in zip(one.named_parameters(), other.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        assert torch.equal(p.grad, q.grad), name


@pytest.mark.parametrize("which", [True, "layers.*", ["layers.0", "head"], ["layers"]])
def test_recomputing_changes_no_gradient_no_statistic_and_no_random_number(which: object) -> None:
    plain, model = make_net(), make_net()
    if which == ["layers"]:
        which = ["layers.1", "layers.1.linear"]
    enable_gradient_checkpointing(model, which)  # type: ignore[arg-type]
    assert torch.equal(run(plain), run(model))
    assert_same(plain, model)


def test_repeated_blocks_recompute_and_single_layers_do_not() -> None:
    model = make_net()
    assert enable_gradient_checkpointing(model) == ["layers.0", "layers.1", "layers.2"]
    run(model)
    assert [layer.calls for layer in model.layers] == [2, 2, 2]


def test_evaluation_recomputes_nothing() -> None:
    model = make_net()
    enable_gradient_checkpointing(model)
    model.eval()
    run(model)
    assert [layer.calls for layer in model.layers] == [1, 1, 1]


def test_a_part_of_a_chosen_module_is_not_wrapped_again() -> None:
    model = make_net()
    assert enable_gradient_checkpointing(model, ["layers.0*", "layers.0.linear"]) == ["layers.0"]
    enable_gradient_checkpointing(model, "layers.0")
    assert isinstance(model.layers[0].forward, Recomputed)
    assert not isinstance(model.layers[0].forward.forward, Recomputed)


def test_a_copy_recomputes_with_its_own_weights() -> None:
    model = make_net()
    enable_gradient_checkpointing(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.fill_(torch.nan)
    run(twin)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in twin.parameters())
    assert all(weight.grad is None for weight in model.parameters())


def test_false_leaves_the_model_alone() -> None:
    model = make_net()
    assert enable_gradient_checkpointing(model, False) == []
    assert "forward" not in vars(model.layers[0])


def test_a_name_that_fits_nothing_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(RequestError, match=r"no module called 'layer\.\*'.*layers\.0") as caught:
        enable_gradient_checkpointing(make_net(), ["head", "layer.*"])
    assert "layers.0.linear" in str(caught.value)


def test_a_model_without_repeated_blocks_is_refused_with_its_modules() -> None:
    with pytest.raises(RequestError, match="Name some of: 0, 2"):
        enable_gradient_checkpointing(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))


def test_a_hugging_face_model_uses_its_own_implementation_wherever_it_sits() -> None:
    from transformers import BertConfig, BertModel

    def make() -> nn.ModuleDict:
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
        )
        return nn.ModuleDict({"bert": BertModel(config, add_pooling_layer=False)})

    plain, model = make(), make()
    assert enable_gradient_checkpointing(model) == ["bert"]
    assert all(layer.gradient_checkpointing for layer in model["bert"].encoder.layer)
    tokens = torch.arange(10).view(2, 5)
    assert torch.equal(
        run(lambda _: plain["bert"](tokens).last_hidden_state),
        run(lambda _: model["bert"](tokens).last_hidden_state),
    )
    assert_same(plain, model)


@pytest.mark.parametrize("make", [lambda: make_net().eval(), lambda: make_net().head])
def test_compiling_keeps_keys_and_numbers(make: Callable[[], nn.Module]) -> None:
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    plain, model = make(), make()
    assert compile_modules(model, {"backend": backend}) == [""]
    run(plain)
    run(model)
    assert_same(plain, model)
    assert len(graphs) == 1


def test_only_the_named_modules_are_compiled() -> None:
    model = make_net()
    compiled = compile_modules(model, {"backend": "eager", "only": "layers.*"})
    assert compiled == ["layers.0", "layers.1", "layers.2"]
    assert model._compiled_call_impl is None
    assert all(layer._compiled_call_impl is not None for layer in model.layers)


# Tracing touches .grad of an inner tensor, and inductor's import touches what torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor", "ignore:.*torch.jit")
def test_compiling_and_recomputing_go_together() -> None:
    plain, model = nn.Sequential(*(Stack() for _ in range(2))), nn.Sequential(*(Stack() for _ in range(2)))
    model.load_state_dict(plain.state_dict())
    enable_gradient_checkpointing(model)
    compile_modules(model, {"backend": "aot_eager"})
    run(plain)
    run(model)
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.linear(x))


def test_what_is_compiled_for_a_batch_does_not_depend_on_those_before_it() -> None:
    shapes: list[list[object]] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        shapes.append([size for tensor in inputs for size in tensor.shape])
        return graph

    model = Stack()
    compile_modules(model, {"backend": backend})
    for size in (16, 3, 16, 5, 3):
        model(torch.ones(size, 8))
    assert len(shapes) == 3
    assert all(type(size) is int for sizes in shapes for size in sizes)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_batch_has_the_same_bits_whether_or_not_an_uneven_one_came_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Inductor sets it, and would leave it behind.
    monkeypatch.setenv("_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR", "")

    def gradients(*sizes: int) -> list[Tensor]:
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.LayerNorm(64), nn.GELU(), nn.Linear(64, 10))
        compile_modules(model)
        for size in sizes:
            model.zero_grad()
            model(
                torch.randn(size, 32, generator=torch.Generator().manual_seed(size))
            ).square().mean().backward()
        return [p.grad for p in model.parameters() if p.grad is not None]

    # In this process, so that none is left behind.
    with torch._inductor.config.patch(compile_threads=1):
        resumed, undisturbed = gradients(16), gradients(16, 3, 16)
    assert all(torch.equal(one, other) for one, other in zip(resumed, undisturbed, strict=True))


def test_more_shapes_than_torch_compiles_are_spoken_of_once(caplog: pytest.LogCaptureFixture) -> None:
    model = Stack()
    compile_modules(model, {"backend": "eager"})
    for size in range(2, 13):
        model(torch.ones(size, 8))
        assert caplog.text.count("model.compile={dynamic:true}") == (size > 9)
    asked = Stack()
    compile_modules(asked, {"backend": "eager", "dynamic": True})
    assert type(asked._compiled_call_impl) is not type(model._compiled_call_impl)


def test_compile_off_does_nothing() -> None:
    model = make_net()
    assert compile_modules(model, False) == []
    assert model._compiled_call_impl is None


def test_an_option_torch_compile_does_not_have_is_refused() -> None:
    with pytest.raises(RequestError, match="no option 'modus'.*mode"):
        compile_modules(make_net(), {"modus": "max-autotune"})


ONE_RUN = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
with torch.no_grad():
    torch.compile(model)(torch.ones(1, 3))
print(torch._dynamo.utils.counters["inductor"]["fxgraph_cache_hit"])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_code_is_kept_for_the_next_run(tmp_path: Path) -> None:
    environment = {**os.environ, **compile_cache(tmp_path / "compiled")}
    hits = [
        int(subprocess.run([sys.executable, "-c", ONE_RUN], env=environment, check=True, stdout=-1).stdout)
        for _ in range(2)
    ]
    assert hits[0] == 0
    assert hits[1] > 0
