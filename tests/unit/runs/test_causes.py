"""What an exception says about why a run failed."""

from __future__ import annotations

import traceback
from email.message import Message
from urllib.error import HTTPError

import pytest
import torch

from nimble_lightning.errors import CheckpointError, RequestError, TrainerError
from nimble_lightning.runs.causes import cause_of, is_consequence


def bases_of(error: BaseException) -> list[str]:
    return [c.__name__ for c in type(error).__mro__]


class OutOfMemoryError(RuntimeError):
    """As torch has it."""


class DistBackendError(RuntimeError):
    """As torch has it."""


class HfHubHTTPError(HTTPError, OSError):
    """As huggingface_hub has it, which has it from its HTTP library."""

    def __init__(self, said: str) -> None:
        OSError.__init__(self, said)

    def __str__(self) -> str:
        return str(self.args[0])


class LocalEntryNotFoundError(FileNotFoundError):
    """As huggingface_hub has it."""


def _twice() -> None:
    loss = torch.ones(2, requires_grad=True).exp().sum()
    loss.backward()
    loss.backward()


def _in_place() -> None:
    x = torch.ones(2, requires_grad=True).exp()
    loss = (x * x).sum()
    x += 1
    loss.backward()


WRONG = (
    lambda: torch.ones(2, 3) @ torch.ones(2, 3),
    lambda: torch.ones(2) + torch.ones(3),
    lambda: torch.cat([torch.ones(2, 2), torch.ones(3, 3)]),
    lambda: torch.stack([torch.ones(2), torch.ones(3)]),
    lambda: torch.ones(4).view(3),
    lambda: torch.nn.Linear(3, 2)(torch.ones(4, 5)),
    lambda: torch.nn.Conv2d(3, 2, 1)(torch.ones(1, 4, 2, 2)),
    lambda: torch.nn.Linear(3, 2)(torch.ones(4, 3, dtype=torch.float64)),
    lambda: torch.ones(2).sum().backward(),
    lambda: torch.ones(2, requires_grad=True).backward(),
    lambda: torch.nn.Linear(3, 2).load_state_dict({}),
    lambda: torch.ones(2, dtype=torch.long).softmax(0),
    _twice,
    _in_place,
)


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
        (FileNotFoundError(2, "No such file or directory", "data.csv"), "deterministic"),
        (FileNotFoundError(2, "No such file or directory"), "transient"),
        (PermissionError(13, "Permission denied", "data.csv"), "deterministic"),
        (RecursionError("maximum recursion depth exceeded"), "deterministic"),
        (OSError("bert-bse is not a local folder and is not a valid model identifier"), "deterministic"),
        (HTTPError("x", 401, "Unauthorized", Message(), None), "deterministic"),
        (HTTPError("x", 503, "Unavailable", Message(), None), "transient"),
        (HTTPError("x", 429, "Too Many Requests", Message(), None), "transient"),
        (HfHubHTTPError("403 Client Error: Forbidden for url: https://hub"), "deterministic"),
        (HfHubHTTPError("Client error '404 Not Found' for url 'https://hub'"), "deterministic"),
        (HfHubHTTPError("502 Server Error: Bad Gateway for url: https://hub"), "transient"),
        (LocalEntryNotFoundError("we cannot find the requested files in the local cache"), "transient"),
        (OSError(28, "No space left on device", "file"), "transient"),
        (OSError(116, "Stale file handle"), "transient"),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), "transient"),
        (ValueError("Caught ValueError in DataLoader worker process 0."), "deterministic"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "device_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "device_memory"),
        (RuntimeError("CUDA error: out of memory"), "device_memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "device_memory"),
        (RuntimeError("[enforce fail] can't allocate memory: you tried"), "host_memory"),
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


def test_what_is_not_to_be_fetched_is_not_asked_for_again() -> None:
    told = "Cannot find the requested files in the disk cache and outgoing traffic has been disabled."
    asked = OSError("We couldn't connect to 'https://huggingface.co' to load the files")
    asked.__cause__ = LocalEntryNotFoundError(told)
    trace = "".join(traceback.format_exception(asked))
    assert cause_of(bases_of(asked), str(asked), trace) == ("deterministic", True)
    assert cause_of(bases_of(asked), str(asked)) == ("transient", False)


def test_what_torch_says_of_wrong_code_is_known() -> None:
    for wrong in WRONG:
        with pytest.raises(RuntimeError) as error:
            wrong()
        assert cause_of(bases_of(error.value), str(error.value)) == ("deterministic", True), error.value


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
