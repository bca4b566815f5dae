"""`predict_and_show`: run once, its results kept as files under show/ and named on the terminal."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nimble_lightning.adapters import UserTrainer
from nimble_lightning.runtime.folder import RunFolder, write_json

log = logging.getLogger(__name__)

MOST = 20


def show(user: UserTrainer, module: nn.Module | None, folder: RunFolder) -> None:
    """Keep what `predict_and_show` yields or returns. The run is finished already, so a failure here is a warning."""
    if user.method("predict_and_show") is None:
        return
    if module is not None:
        module.eval()
    folder.show.mkdir(mode=0o700, exist_ok=True)
    index = []
    try:
        with torch.no_grad():
            for number, (caption, value) in enumerate(islice(_results(user.run("predict_and_show")), MOST), 1):
                file = keep(value, folder.show / f"{number:02d}")
                index.append({"caption": caption, "file": file.name})
                text = file.read_text(encoding="utf-8").strip() if file.suffix == ".txt" else str(file)
                print(f"  {caption}: {text}" if caption else f"  {text}", flush=True)
    except Exception as error:  # the numbers are in: showing them must not turn a finished run into a failed one
        log.warning("predict_and_show failed with %s: %s", type(error).__name__, error)
    write_json(folder.show / "index.json", index)


def keep(value: Any, stem: Path) -> Path:
    """Write one result: pictures as PNG, data as JSON, the rest as text."""
    if hasattr(value, "savefig"):
        path = stem.with_suffix(".png")
        value.savefig(path)
    elif hasattr(value, "save") and hasattr(value, "convert"):
        path = stem.with_suffix(".png")
        value.save(path)
    elif isinstance(value, dict | list):
        path = stem.with_suffix(".json")
        path.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")
    else:
        path = stem.with_suffix(".txt")
        path.write_text(f"{value}\n", encoding="utf-8")
    return path


def _results(returned: Any) -> Iterable[tuple[str, Any]]:
    """Pairs of caption and result, from a generator, a list, a mapping, a pair, or one thing alone."""
    if returned is None:
        return
    if isinstance(returned, dict):
        yield from ((str(k), v) for k, v in returned.items())
    elif _is_pair(returned):
        yield returned
    elif inspect.isgenerator(returned) or isinstance(returned, list | tuple):
        for item in returned:
            yield item if _is_pair(item) else ("", item)
    else:
        yield "", returned


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
