"""`predict_and_show`: run once, its results kept as files under show/ and named on the terminal."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.fsdp import FullyShardedDataParallel as FSDP1

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.ops.run_files import write_json
from nimble_lightning.ops.sharded_tensors import has_cut_layers
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs.result import NOT_SHOWN
from nimble_lightning.worker import show_files, show_loggers

log = logging.getLogger(__name__)

MOST = 20


def begin(folder: RunFolder, entries: Sequence[dict[str, Any]] = ()) -> None:
    """Have the index say, until it is whole, that there is more to come, however this process ends."""
    folder.show.mkdir(mode=0o700, exist_ok=True)
    write_json(folder.show_index, [*entries, {"caption": "", "error": NOT_SHOWN}])


def show(
    user: UserTrainer,
    module: nn.Module | None,
    folder: RunFolder,
    *,
    most: int = MOST,
    loggers: Iterable[Any] = (),
    step: int = 0,
) -> None:
    """Keep what `predict_and_show` yields or returns, in its order, with an index.json.

    The run is finished already: what cannot be shown is an entry that says why, and the rest goes on.

    Args:
        user: The trainer.
        module: What is switched to evaluation.
        folder: Where to keep it.
        most: So many results are asked for.
        loggers: Who gets them as well, as far as they take such things.
        step: How far the training got.
    """
    if user.method("predict_and_show") is None:
        return
    if module is not None:
        module.eval()
    entries: list[dict[str, Any]] = []
    begin(folder)
    with torch.no_grad():
        for entry in _entries(_results(user), folder, most):
            entries.append(entry)
            begin(folder, entries)
    write_json(folder.show_index, entries)
    show_loggers.pass_on(entries, folder.show, loggers, step)


def _entries(results: Iterator[tuple[str, Any]], folder: RunFolder, most: int) -> Iterator[dict[str, Any]]:
    for number in range(1, most + 1):
        caption = ""
        try:
            if (result := next(results, None)) is None:
                return
            caption, value = result
            file, kind = show_files.keep(value, folder.show / f"{number:02d}")
        except Exception as error:  # a finished run must not fail for it
            yield _failed(caption, error)
            continue
        _print(caption, file.read_text(encoding="utf-8").strip() if file.suffix == ".txt" else str(file))
        yield {"caption": caption, "file": file.name, "kind": kind}


def _failed(caption: str, error: Exception) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "predict_and_show"]
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    what = repr(caption) if caption else "a result"
    log.warning("predict_and_show: %s cannot be shown: %s%s", what, text, where)
    return {"caption": caption, "error": text, **({"line": where[2:-1]} if where else {})}


def _print(caption: str, text: str) -> None:
    print(printable(f"  {caption}: {text}" if caption else f"  {text}"), flush=True)


def _results(user: UserTrainer) -> Iterator[tuple[str, Any]]:
    """Pairs of caption and result, from a generator, a list, a mapping, a pair, or one thing alone."""
    returned = user.run("predict_and_show")
    if isinstance(returned, dict):
        yield from ((str(k), v) for k, v in returned.items())
    elif isinstance(returned, list | Iterator) or _is_several(returned):
        for item in returned:
            yield item if _is_captioned(item) else ("", item)
    elif returned is not None:
        yield returned if _is_captioned(returned) else ("", returned)


def _is_captioned(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _is_several(value: Any) -> bool:
    """A tuple of results, as opposed to one that is a result: caption and thing, or sound and rate."""
    return isinstance(value, tuple) and not _is_captioned(value) and not show_files.is_sound(value)


def gather(module: nn.Module) -> bool:
    """Give every rank all of the weights; every rank must call this.

    Returns:
        Whether one rank can use the model by itself now. Where its layers are cut in themselves, as by tensor
        parallelism, they cannot be used but by all ranks together.
    """
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
    return not has_cut_layers(module) and not any(isinstance(part, FSDP1) for part in module.modules())
