"""What an exception says about why a run failed."""

from __future__ import annotations

import pytest

from nimble_lightning.errors import CheckpointError, RequestError, TrainerError
from nimble_lightning.runtime.causes import cause_of, is_consequence


def bases_of(error: BaseException) -> list[str]:
    return [c.__name__ for c in type(error).__mro__]


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


class DistBackendError(RuntimeError):
    """As torch has it."""


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RequestError("no such file"), "config"),
        (TrainerError("no loss"), "deterministic"),
        (CheckpointError("altered"), "deterministic"),
        (ValueError("bad"), "deterministic"),
        (KeyError("name"), "deterministic"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "deterministic"),
        (ModuleNotFoundError("no module"), "deterministic"),
        (AssertionError(), "deterministic"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "device_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "device_memory"),
        (MemoryError(), "host_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "host_memory"),
        (FloatingPointError("the gradient is nan"), "nan"),
        (RuntimeError("Function 'MulBackward0' returned nan values in its 0th output."), "nan"),
        (ConnectionResetError("reset"), "transient"),
        (TimeoutError("read"), "transient"),
        (OSError(5, "Input/output error"), "transient"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "transient"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_known_error_has_a_cause(error: BaseException, cause: str) -> None:
    assert cause_of(bases_of(error), str(error)) == (cause, True)


def test_an_unknown_error_is_only_presumed_to_be_transient() -> None:
    assert cause_of(bases_of(RuntimeError("boom")), "boom") == ("transient", False)


@pytest.mark.parametrize(
    "error",
    [
        DistBackendError("NCCL error in: ProcessGroupNCCL.cpp"),
        RuntimeError("[../third_party/gloo] Connection closed by peer [127.0.0.1]:4711"),
        ConnectionResetError("Connection reset by peer"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_survivors_say_is_a_consequence(error: BaseException) -> None:
    assert is_consequence(bases_of(error), str(error))


@pytest.mark.parametrize("error", [RuntimeError("boom"), ValueError("gloo is no number")])
def test_an_error_of_its_own_is_no_consequence(error: BaseException) -> None:
    assert not is_consequence(bases_of(error), str(error))
