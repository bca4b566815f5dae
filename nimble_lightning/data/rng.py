"""Global random states: written down, put back, and kept out of the way of code that draws from them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

_States = tuple[Any, Any, torch.Tensor]
KINDS = ("python", "numpy", "torch")
_GET: dict[str, Callable[[], Any]] = {
    "python": random.getstate,
    "numpy": np.random.get_state,
    "torch": torch.default_generator.get_state,
}
_SET: dict[str, Callable[[Any], Any]] = {
    "python": random.setstate,
    "numpy": np.random.set_state,
    "torch": torch.default_generator.set_state,
}


def stable_hash(*keys: int | str) -> int:
    """The same 63-bit number for the same keys, in every process and every version of Python."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def snapshot() -> dict[str, Any]:
    """The global random states as tensors and plain numbers, which `torch.load(weights_only=True)` accepts.

    CUDA's are left out where CUDA was not used: then nothing was drawn there, and asking would start it.
    """
    state = _export(_capture())
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore(state: dict[str, Any]) -> None:
    """Put back what `snapshot` wrote down, on as many CUDA devices as there are."""
    _put_back(_import(state))
    if "cuda" in state:
        for device, cuda in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(cuda.cpu(), device)


class PrivateRandomness:
    """Global CPU random states that belong to one piece of code.

    Inside `with` the code draws from a sequence of its own, decided by `keys` and continued from one block to
    the next; outside, nobody notices.
    """

    def __init__(self, *keys: int | str) -> None:
        self._seed = stable_hash(*keys)
        self._inner: _States | None = None

    def __enter__(self) -> None:
        self._outer = _capture()
        if self._inner is None:
            _seed_all(self._seed)
        else:
            _put_back(self._inner)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner = _capture()
        _put_back(self._outer)

    def state_dict(self) -> dict[str, Any]:
        """The sequence as it is now, in the form of `snapshot`; empty before the first block."""
        return {} if self._inner is None else _export(self._inner)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the sequence from there."""
        self._inner = _import(state) if state else None


@contextmanager
def seeded(*keys: int | str) -> Iterator[None]:
    """A block whose random draws depend on `keys` alone and leave no trace."""
    if get_worker_info() is not None:
        # A worker process draws for nobody else, and writing states down takes longer than seeding.
        _seed_all(stable_hash(*keys))
        yield
        return
    outer = _capture()
    _seed_all(stable_hash(*keys))
    try:
        yield
    finally:
        _put_back(outer)


def _capture() -> _States:
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state()


def _export(states: _States) -> dict[str, Any]:
    return exported(dict(zip(KINDS, states, strict=True)))


def _import(state: dict[str, Any]) -> _States:
    found = imported(state)
    return found["python"], found["numpy"], found["torch"]


def exported(states: dict[str, Any]) -> dict[str, Any]:
    """States of some kinds as tensors and plain numbers."""
    plain: dict[str, Any] = {"torch": states["torch"]} if "torch" in states else {}
    if "python" in states:
        version, words, gauss = states["python"]
        plain["python"] = {"version": version, "words": torch.tensor(words), "gauss": gauss}
    if "numpy" in states:
        _, keys, position, has_gauss, cached = states["numpy"]
        plain["numpy"] = {
            # torch can do little with uint32, so these words travel as int64 as well.
            "words": torch.from_numpy(keys.astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(cached),
        }
    return plain


def imported(plain: dict[str, Any]) -> dict[str, Any]:
    """What `exported` made plain."""
    states: dict[str, Any] = {"torch": plain["torch"].cpu()} if "torch" in plain else {}
    if (python := plain.get("python")) is not None:
        states["python"] = python["version"], tuple(python["words"].tolist()), python["gauss"]
    if (numpy := plain.get("numpy")) is not None:
        words = numpy["words"].cpu().numpy().astype(np.uint32)
        states["numpy"] = "MT19937", words, numpy["position"], numpy["has_gauss"], numpy["gauss"]
    return states


def captured(kinds: Iterable[str]) -> dict[str, Any]:
    """The states of some kinds of global generators on the CPU, as they are."""
    return {kind: _GET[kind]() for kind in kinds}


def put_back(states: dict[str, Any]) -> None:
    """Those of the kinds that were captured; others stay as they are."""
    for kind, state in states.items():
        _SET[kind](state)


def _put_back(states: _States) -> None:
    python, numpy, cpu = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.default_generator.set_state(cpu)


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # torch.manual_seed would seed the GPUs as well.
    torch.default_generator.manual_seed(seed)
