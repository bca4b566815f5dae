"""From a strategy of Lightning's to the layout it makes of a model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
    StrategyRegistry,
)
from torch import nn
from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.sharded_tensors import has_cut_layers
from nimble_lightning.planning.custom_sharding import layers_over
from nimble_lightning.planning.layout import Layout
from nimble_lightning.planning.machine import Machine
from nimble_lightning.planning.trace import Numbers

_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}
# Elements that Lightning has DeepSpeed reduce at once.
_DEEPSPEED_BUCKET = 200_000_000
# DeepSpeed's own: elements of a parameter that stays gathered, and within which one that is used again stays.
_DEEPSPEED_PERSISTENT, _DEEPSPEED_REUSE = 100_000, 1_000_000_000
_ALL = ("parameters", "gradients", "optimizer")


@dataclass(frozen=True)
class Option:
    """A strategy that could be chosen.

    Attributes:
        name: For people.
        overrides: What to type for it; none for the one that was asked for.
        layout: What it makes of the model.
        numbers: What it computes in.
        note: What to know about it.
    """

    name: str
    overrides: tuple[str, ...]
    layout: Layout
    numbers: Numbers
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """What a layout depends on besides the strategy.

    Attributes:
        ours: Whether gradients are added up by us, which packs them once more.
        sharded: Modules that the trainer's own configure_model gave to `fully_shard`.
    """

    module: nn.Module
    machine: Machine
    precision: str
    ours: bool
    sharded: tuple[str, ...] = ()
    gathered_in: torch.dtype | None = None


def option(strategy: Any, setting: Setting, name: str = "", overrides: tuple[str, ...] = ()) -> Option:
    """What a strategy comes to.

    Args:
        strategy: As `lightning.strategy` has it: a name, or an object.
        setting: The model and the machine.
        name: What to call it; its own name by default.
        overrides: What to type for it.

    Raises:
        RequestError: If nothing is known about it.
    """
    if isinstance(strategy, str) and strategy.startswith("deepspeed"):
        return _deepspeed(strategy, setting, name or strategy, overrides)
    made = _made(strategy)
    if isinstance(made, FSDPStrategy):
        layout, note = _fsdp(made, setting)
        numbers = Numbers(_autocast(setting.precision), _dtype(layout.gather_bytes, setting.precision))
        return Option(name or "fsdp", overrides, layout, numbers, note)
    if isinstance(made, ModelParallelStrategy):
        return _model_parallel(made, setting, name or "model_parallel", overrides)
    if made is None or isinstance(made, DDPStrategy | SingleDeviceStrategy):
        several = setting.machine.ranks > 1
        views = bool(getattr(made, "_ddp_kwargs", {}).get("gradient_as_bucket_view"))
        layout = Layout(setting.machine.ranks, buckets=several and not views, packed=several and setting.ours)
        return Option(
            name or ("ddp" if several else "one device"), overrides, layout, _plain(setting.precision)
        )
    raise RequestError(
        f"The strategy {type(made).__name__} cannot be planned; auto, ddp, fsdp, "
        "model_parallel and DeepSpeed's can: strategy=fsdp"
    )


def alternatives(setting: Setting, block: int) -> list[Option]:
    """What else could be asked for, from the one that sends least.

    Args:
        setting: The model and the machine.
        block: Parameters of the block that the model repeats; 0 if it repeats none.
    """
    if has_cut_layers(setting.module):
        # They stay cut, whatever is asked for.
        return []
    found = [option("ddp", setting, "ddp", ("strategy=ddp",))]
    if setting.machine.ranks == 1 or not block:
        return found
    policy = (
        "'+lightning.strategy.auto_wrap_policy={_target_:torch.distributed.fsdp.wrap.size_based_auto_wrap_policy,"
        f"_partial_:true,min_num_params:{block}}}'"
    )
    for strategy, name in (("HYBRID_SHARD", "fsdp per node"), ("FULL_SHARD", "fsdp")):
        if strategy == "HYBRID_SHARD" and (setting.machine.nodes == 1 or setting.machine.a_node == 1):
            continue
        typed = ["strategy=fsdp", policy]
        if strategy != "FULL_SHARD":
            typed.append(f"lightning.strategy.sharding_strategy={strategy}")
        made = FSDPStrategy(sharding_strategy=strategy, auto_wrap_policy=_by_size(block))  # type: ignore[arg-type]
        found.append(option(made, setting, name, tuple(typed)))
    return found


def _by_size(block: int) -> Callable[..., bool]:
    return partial(size_based_auto_wrap_policy, min_num_params=block)


def number_of_bits(precision: str) -> torch.dtype | None:
    """The type below 32 bits that a precision computes in."""
    return _TYPES.get(precision.partition("-")[0])


def _made(strategy: Any) -> Strategy | None:
    if not isinstance(strategy, str):
        return strategy  # type: ignore[no-any-return]
    if strategy == "auto":
        return None
    if strategy not in StrategyRegistry:
        raise RequestError(
            f"Lightning has no strategy {strategy!r}. Choose one of conf/strategy: strategy=ddp"
        )
    known = StrategyRegistry[strategy]
    return known["strategy"](**known["init_params"])  # type: ignore[no-any-return]


def _plain(precision: str) -> Numbers:
    return Numbers(_autocast(precision), None if precision.endswith("mixed") else number_of_bits(precision))


def _autocast(precision: str) -> torch.dtype | None:
    return number_of_bits(precision) if precision.endswith("mixed") else None


def _dtype(size: int | None, precision: str) -> torch.dtype | None:
    return number_of_bits(precision) if size == 2 else None


def _fsdp(strategy: FSDPStrategy, setting: Setting) -> tuple[Layout, str]:
    machine, kind = setting.machine, strategy.sharding_strategy.name
    if kind == "NO_SHARD" or machine.ranks == 1:
        return Layout(machine.ranks), "nothing is cut up"
    group = machine.ranks
    if kind in ("HYBRID_SHARD", "_HYBRID_SHARD_ZERO2"):
        mesh = strategy.kwargs.get("device_mesh")
        group = mesh[1] if isinstance(mesh, tuple) else machine.a_node
    mixed, low = strategy.mixed_precision, number_of_bits(setting.precision)
    gather = mixed.param_dtype if mixed is not None else low
    reduce = (mixed.reduce_dtype or mixed.param_dtype) if mixed is not None else low
    units = tuple(_units(setting.module, strategy.kwargs.get("auto_wrap_policy")))
    layout = Layout(
        machine.ranks,
        group,
        group,
        group,
        units,
        None if gather is None else gather.itemsize,
        None if reduce is None else reduce.itemsize,
        keeps=kind in ("SHARD_GRAD_OP", "_HYBRID_SHARD_ZERO2"),
        offloaded=_ALL if strategy.cpu_offload and strategy.cpu_offload.offload_params else (),
    )
    return layout, "" if units else "no auto_wrap_policy: the whole model is gathered at once"


def _model_parallel(
    strategy: ModelParallelStrategy, setting: Setting, name: str, overrides: tuple[str, ...]
) -> Option:
    """What fully_shard cuts, of layers that are cut already where the trainer's configure_model cut them."""
    layers = layers_over(strategy, setting.machine)
    over, low = setting.machine.ranks // layers, setting.gathered_in
    _require_cuts(setting, layers, over)
    if strategy._data_parallel_size not in ("auto", over):
        overrides = (*overrides, f"lightning.strategy.data_parallel_size={over}")
    size = None if low is None else low.itemsize
    # The outermost are roots, which stay gathered between the passes.
    units = tuple(unit for unit in setting.sharded if any(_within(unit, other) for other in setting.sharded))
    layout = Layout(over, over, over, over, units, size, size, layers_over=layers)
    return Option(name, overrides, layout, Numbers(_autocast(setting.precision), low))


def _require_cuts(setting: Setting, layers: int, over: int) -> None:
    if layers > 1 and not has_cut_layers(setting.module):
        raise RequestError(
            f"configure_model cuts no layer, so {layers} devices would all compute the same. Cut some with "
            'parallelize_module over self.device_mesh["tensor_parallel"], or: '
            "lightning.strategy.tensor_parallel_size=1 lightning.strategy.data_parallel_size="
            f"{setting.machine.ranks}"
        )
    if over > 1 and not setting.sharded:
        raise RequestError(
            "configure_model gave nothing to fully_shard, so every device has all: "
            + (
                'fully_shard(self.model, mesh=self.device_mesh["data_parallel"])'
                if layers > 1
                else "strategy=ddp"
            )
        )


def _deepspeed(strategy: str, setting: Setting, name: str, overrides: tuple[str, ...]) -> Option:
    """What its engines hold, as test_planned_engine.py found; DeepSpeed itself is not asked."""
    found = re.search(r"stage_([123])", strategy)
    stage, ranks = int(found[1]) if found else 2, setting.machine.ranks
    low = number_of_bits(setting.precision)
    size = 4 if low is None else low.itemsize
    owners = [part for part, module in setting.module.named_modules() if part and module._parameters]
    layout = Layout(
        ranks,
        ranks if stage == 3 else 1,
        ranks,
        ranks,
        tuple(owners) if stage == 3 else (),
        size,
        size,
        keeps_for=_DEEPSPEED_REUSE,
        keeps_up_to=_DEEPSPEED_PERSISTENT,
        # The third stage has one for good, the others have two while gradients are computed.
        bucket=0 if stage == 3 else 2 * _DEEPSPEED_BUCKET * size,
        fixed=_DEEPSPEED_BUCKET * size if stage == 3 else 0,
        earlier_over=1 if stage == 1 else None,
        lasting=stage == 3,
        offloaded=(_ALL if stage == 3 else _ALL[1:]) if "offload" in strategy else (),
        masters=True,
    )
    return Option(name, overrides, layout, Numbers(None, low), "as DeepSpeed 0.19 was found to hold it")


def _within(name: str, outer: str) -> bool:
    return name != outer and (not outer or name.startswith(f"{outer}."))


def _units(root: nn.Module, policy: Any) -> list[str]:
    """The modules that FSDP would wrap, without wrapping them."""
    if policy is None:
        return []
    names = {module: name for name, module in root.named_modules()}
    if hasattr(policy, "_run_policy"):
        return [names[m] for m in policy._run_policy(root, set(), {}) if names[m]]
    found: list[str] = []

    def look(module: nn.Module) -> int:
        size = sum(p.numel() for p in module.parameters())
        if not policy(module=module, recurse=True, nonwrapped_numel=size):
            return 0
        wrapped = sum(look(child) for child in module.children())
        if module is not root and policy(module=module, recurse=False, nonwrapped_numel=size - wrapped):
            found.append(names[module])
            return size
        return wrapped

    look(root)
    return found
