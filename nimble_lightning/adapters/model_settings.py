"""Settings of a model that need no change to its code: recompute activations, compile."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nimble_lightning.errors import RequestError

log = logging.getLogger(__name__)

_NAMES_SHOWN = 20


def enable_gradient_checkpointing(module: nn.Module, which: bool | str | Sequence[str] = True) -> list[str]:
    """Let blocks of `module` recompute their activations in the backward pass instead of keeping them.

    Gradients, random numbers and the keys of `state_dict()` stay the same.

    Args:
        module: The model, or a module that contains it.
        which: True picks the repeated blocks: what a Hugging Face model offers, else the members of one class
            in each `nn.ModuleList` and `nn.Sequential`. Names of submodules, with `*`, pick those.

    Returns:
        The names of the modules that recompute.

    Raises:
        RequestError: If nothing fits.
    """
    if isinstance(which, bool):
        return _repeated_blocks(module) if which else []
    chosen = _matching(module, [which] if isinstance(which, str) else which)
    return _wrap(module, chosen)


def compile_modules(module: nn.Module, options: bool | Mapping[str, Any] = True) -> list[str]:
    """Compile in place, so that the keys of `state_dict()` stay the same.

    Args:
        module: What is compiled as a whole.
        options: Arguments of `torch.compile`, and `only`: names of submodules, with `*`, to compile each by
            itself, which is quicker where a model repeats a block. False does nothing. Unless `dynamic` is
            given each shape is compiled for itself: torch would compile the second shape for all that follow,
            so that the bits of a batch depended on those before it.

    Returns:
        The names of the modules that were compiled; the whole is "".

    Raises:
        RequestError: If `torch.compile` has no such option, or `only` fits nothing.
    """
    if options is False:
        return []
    given = {} if options is True else {str(key): value for key, value in options.items()}
    only = given.pop("only", None)
    known = [name for name in inspect.signature(torch.compile).parameters if name not in ("model", "disable")]
    if unknown := sorted(given.keys() - set(known)):
        raise RequestError(f"torch.compile has no option {unknown[0]!r}. It takes: {', '.join(known)}, only.")
    names = [""] if only is None else _matching(module, [only] if isinstance(only, str) else only)
    for name in names:
        _compile(module.get_submodule(name), given)
    return names


def _compile(module: nn.Module, options: Mapping[str, Any]) -> None:
    given = {"dynamic": False, **options}
    call: Callable[..., Any] = module._call_impl
    # torch starts no trace in its own files, so a bare nn.Sequential would silently stay as it is.
    traced = type(module).__module__.startswith("torch.")
    compiled = torch.compile((lambda *args, **kwargs: call(*args, **kwargs)) if traced else call, **given)
    module._compiled_call_impl = compiled if "dynamic" in options else CompiledByShape(module, compiled)


class CompiledByShape:
    """Calls what was compiled, and says when there are more shapes than torch compiles."""

    def __init__(self, module: nn.Module, call: Callable[..., Any]) -> None:
        self._module = module
        self._call = call
        self._seen: set[tuple[Any, ...]] = set()
        self._most: int = torch._dynamo.config.recompile_limit

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(self._seen) <= self._most:
            shapes = [tuple(value.shape) for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            self._seen.add((self._module.training, torch.is_grad_enabled(), *shapes))
            if len(self._seen) > self._most:
                log.warning(
                    "%s was given more than %d shapes: further ones are not compiled, and a run that is "
                    "continued may differ by rounding. Pad to fewer lengths, or type "
                    "model.compile={dynamic:true} for one code for all, with which it may as well",
                    type(self._module).__name__,
                    self._most,
                )
        return self._call(*args, **kwargs)


def compile_cache(folder: str | Path) -> dict[str, str]:
    """Environment that keeps compiled code in `folder` for later runs; set it before torch compiles."""
    return {"TORCHINDUCTOR_CACHE_DIR": str(Path(folder).absolute())}


class Recomputed:
    """Takes the place of a module's `forward`, on the instance: its class and its keys stay the same."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.forward = module.forward
        self.counting = [part for part in module.modules() if getattr(part, "track_running_stats", False)]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.module.training and torch.is_grad_enabled()):
            return self.forward(*args, **kwargs)
        forward = functools.partial(self.forward, **kwargs)
        if not self.counting:
            return checkpoint(forward, *args, use_reentrant=False)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=self._contexts)

    def _contexts(
        self,
    ) -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), self._counted()

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Batch norms took this batch into their statistics in the forward pass; once is right."""
        kept = [dict(part._buffers) for part in self.counting]
        for part, buffers in zip(self.counting, kept, strict=True):
            part._buffers.update({name: one if one is None else one.clone() for name, one in buffers.items()})
        try:
            yield
        finally:
            for part, buffers in zip(self.counting, kept, strict=True):
                part._buffers.update(buffers)


def _repeated_blocks(module: nn.Module) -> list[str]:
    offers = [name for name, part in module.named_modules() if _own_switch(part) is not None]
    offers = _outermost(offers)
    for name in offers:
        part = module.get_submodule(name)
        try:
            # transformers calls this argument differently in each version.
            _own_switch(part)({"use_reentrant": False})  # type: ignore[misc]
        except ValueError as error:
            raise RequestError(
                f"{type(part).__name__} offers no gradient checkpointing of its own. {_advice(module)}"
            ) from error
    blocks = [
        f"{path}.{name}" if path else name
        for path, container in module.named_modules()
        if isinstance(container, nn.ModuleList | nn.Sequential)
        for name, child in container.named_children()
        if _is_block(child) and sum(type(other) is type(child) for other in container) > 1
    ]
    wrapped = _wrap(module, [name for name in blocks if not any(_within(name, offer) for offer in offers)])
    if not offers and not wrapped:
        raise RequestError(f"{type(module).__name__} has no repeated blocks to recompute. {_advice(module)}")
    return sorted([*offers, *wrapped])


def _own_switch(module: nn.Module) -> Callable[[Mapping[str, Any]], None] | None:
    new = getattr(module, "activation_checkpointing_enable", None)
    return new if new is not None else getattr(module, "gradient_checkpointing_enable", None)


def _is_block(module: nn.Module) -> bool:
    """A single layer keeps little that recomputing could save."""
    return any(True for _ in module.children()) and any(True for _ in module.parameters())


def _wrap(module: nn.Module, names: list[str]) -> list[str]:
    chosen = _outermost(names)
    for name in chosen:
        part = module.get_submodule(name)
        if not isinstance(part.forward, Recomputed):
            part.forward = Recomputed(part)
    return chosen


def _matching(module: nn.Module, patterns: Sequence[str]) -> list[str]:
    names = [name for name, _ in module.named_modules() if name]
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise RequestError(f"{type(module).__name__} has no module called {pattern!r}. {_advice(module)}")
    return _outermost([name for name in names if any(fnmatch.fnmatchcase(name, one) for one in patterns)])


def _outermost(names: list[str]) -> list[str]:
    """A part of something chosen goes with it."""
    chosen: list[str] = []
    for name in names:
        if not any(_within(name, other) for other in chosen):
            chosen.append(name)
    return chosen


def _within(name: str, outer: str) -> bool:
    return not outer or name == outer or name.startswith(f"{outer}.")


def _advice(module: nn.Module) -> str:
    names = [name for name, part in module.named_modules() if name and any(True for _ in part.parameters())]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"Name some of: {', '.join(names[:_NAMES_SHOWN]) or 'nothing'}{more}."
