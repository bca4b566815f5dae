"""What a source is, and the start of a new epoch in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nimble_lightning.errors import TrainerError


def is_hugging_face(source: Any, name: str) -> bool:
    """Whether `source` is the `datasets` class of that name; the library is not imported to find out."""
    return any(
        base.__name__ == name and base.__module__.startswith("datasets.") for base in type(source).__mro__
    )


def announce(source: Any, epoch: int) -> None:
    """Tell a source, and the samplers and the dataset within it, which epoch begins."""
    batch_sampler = getattr(source, "batch_sampler", None)
    parts = [source, batch_sampler, *(getattr(part, "sampler", None) for part in (source, batch_sampler))]
    parts.append(getattr(source, "dataset", None))
    for part in {id(part): part for part in parts if part is not None}.values():
        if callable(set_epoch := getattr(part, "set_epoch", None)):
            set_epoch(epoch)


def open_source(source: Iterable[Any] | Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """An iterator over the source, which may be a function that makes one."""
    opened = source if isinstance(source, Iterable) else source()
    if not isinstance(opened, Iterable):
        raise TrainerError(
            f"{getattr(source, '__name__', source)!r} returned a {type(opened).__name__}; "
            "a function given as data must return something to iterate over"
        )
    return iter(opened)
