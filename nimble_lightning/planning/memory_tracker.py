"""Watches a pass over a batch whose tensors hold nothing, and writes down its timeline."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._C._distributed_c10d import _resolve_process_group
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from nimble_lightning.ops.sharded_tensors import pretended, works_on_whole
from nimble_lightning.planning.timeline import Moment

# What CUDA's allocator rounds every tensor up to.
GRAIN = 512
_ITEM = torch.ops.aten._local_scalar_dense.default
_CAST = torch.ops.aten._to_copy.default


_OPS = torch.ops._c10d_functional
_SUMS = {_OPS.all_reduce.default, _OPS.all_reduce_.default}
_GATHERS = {_OPS.all_gather_into_tensor.default}
_DEALS = {_OPS.reduce_scatter_tensor.default, _OPS.all_to_all_single.default}
_WAIT = _OPS.wait_tensor.default


class MemoryTracker(TorchDispatchMode):
    """Counts the bytes of every storage that operations make, for as long as it lives.

    Attributes:
        live: Bytes of activations at this moment.
        copies: Bytes of rounded copies of parameters.
        flops: Floating-point operations so far, by PyTorch's own formulas.
        sent: Bytes sent to ranks that the same layers are cut over.
        moments: What happened so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.copies = self.flops = self.sent = 0
        self.moments: list[Moment] = []
        self._high = self._with_copies = 0
        self._sizes: dict[int, int] = {}
        self._copied: set[int] = set()
        self._alive: dict[int, weakref.ref[Any]] = {}
        self._parameters: set[int] = set()
        self._depth = 0

    @override
    def __enter__(self) -> Self:
        self._depth = pretended()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if works_on_whole(types):
            return NotImplemented
        if pretended() > self._depth:
            # Torch tries it out.
            return func(*args, **(kwargs or {}))
        given = dict(kwargs or {})
        if func is _ITEM:
            return _some_value(args[0].dtype)
        if func is _WAIT:
            # Without values it would be another tensor that comes back.
            return args[0]
        if given.get("device") is not None:
            # There is no other device to go to.
            given["device"] = torch.device("cpu")
        out = func(*args, **given)
        self.sent += _bytes_sent(func, args, out)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **given, out_val=out)
        copy = func is _CAST and id(args[0].untyped_storage()) in self._parameters
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._see(tensor, copy)
        return out

    def know(self, *tensors: Tensor) -> None:
        """These are accounted for elsewhere."""
        for tensor in tensors:
            self._watch(_storage(tensor), 0)

    def note(self, what: str, name: str) -> None:
        """End a stretch here."""
        self.moments.append(Moment(what, name, self._high, self._with_copies))
        self._high, self._with_copies = self.live, self.live + self.copies

    def _see(self, tensor: Tensor, copy: bool) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._sizes:
            return
        size = grains(storage.nbytes())
        self._watch(storage, size)
        if copy:
            self._copied.add(key)
        self._count(key, size)

    def _watch(self, storage: Any, size: int) -> None:
        key = id(storage)
        self._sizes[key] = size
        self._alive[key] = weakref.ref(storage, lambda _: self._gone(key))

    def _gone(self, key: int) -> None:
        self._count(key, -self._sizes.pop(key))
        del self._alive[key]
        self._copied.discard(key)

    def _count(self, key: int, size: int) -> None:
        if key in self._copied:
            self.copies += size
        else:
            self.live += size
        self._high = max(self._high, self.live)
        self._with_copies = max(self._with_copies, self.live + self.copies)

    def _disown(self, gradient: Tensor | None) -> None:
        """A parameter's gradient is no activation any more."""
        if gradient is not None:
            key = id(_storage(gradient))
            self.live -= self._sizes.get(key, 0)
            self._sizes[key] = 0

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        """Note when its parts begin and end, and when its parameters get their gradients."""
        with ExitStack() as hooks:
            for name, part in module.named_modules():
                if any(True for _ in part.parameters()):
                    for handle in self._hooked(name, part):
                        hooks.callback(handle.remove)
            for name, parameter in module.named_parameters():
                self._parameters.add(id(_storage(parameter)))
                self.know(parameter)
                if parameter.requires_grad:
                    handle = parameter.register_post_accumulate_grad_hook(self._got(name))
                    hooks.callback(handle.remove)
            self._high, self._with_copies = self.live, self.live + self.copies
            yield

    def _hooked(self, name: str, part: nn.Module) -> list[Any]:
        def leave(module: nn.Module, args: Any, output: Any) -> None:
            self.note("leave", name)
            for tensor in tree_leaves(output):
                if isinstance(tensor, Tensor) and tensor.requires_grad:
                    tensor.register_hook(back)

        def back(gradient: Tensor) -> None:
            self.note("back", name)

        enter = part.register_forward_pre_hook(lambda module, args: self.note("enter", name))
        return [enter, part.register_forward_hook(leave)]

    def _got(self, name: str) -> Callable[[Tensor], None]:
        def got(parameter: Tensor) -> None:
            self.note("gradient", name)
            self._disown(parameter.grad)

        return got


def _storage(tensor: Tensor) -> Any:
    """Of what is here; asking for it in any other way would be one more operation."""
    return (tensor._local_tensor if isinstance(tensor, DTensor) else tensor).untyped_storage()


def grains(size: int) -> int:
    """What the allocator takes for a size: rounded up to its smallest unit."""
    return -(-size // GRAIN) * GRAIN


def _some_value(dtype: torch.dtype) -> Any:
    """Nobody knows what a tensor without values holds; code that asks goes on with the plain case."""
    return True if dtype is torch.bool else 1.0 if dtype.is_floating_point else 1


def _bytes_sent(operation: Any, args: tuple[Any, ...], out: Any) -> int:
    """What one rank sends in an operation, at least; 0 where it is none that sends.

    Of n ranks that add up or put together S bytes each sends S (n-1)/n; adding up for everybody is both.
    """
    if operation not in _SUMS | _GATHERS | _DEALS:
        return 0
    ranks = _resolve_process_group(args[-1]).size()
    whole: Tensor = out if operation in _GATHERS else args[0]
    return (2 if operation in _SUMS else 1) * whole.nbytes * (ranks - 1) // ranks
