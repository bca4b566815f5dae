"""What a whole checkpoint costs beside `torch.save`, and how long an asynchronous one holds training up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.bench.child import answer_with


def main(request: dict[str, Any]) -> list[dict[str, float]]:
    """One row a turn: seconds of each way to save the same state."""
    from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, NimbleCheckpointIO

    torch.set_num_threads(1)
    folder, state = Path(request["folder"]), _state(request["mib"])
    ours, in_background = NimbleCheckpointIO(), AsyncNimbleCheckpointIO()
    rows = []
    # The first turn warms up: the copy's memory, the files' blocks.
    for turn in range(request["repeats"] + 1):
        rows.append(
            {
                "plain": _seconds(lambda: _plain(state, folder / "plain.ckpt")),
                "ours": _seconds(lambda: ours.save_checkpoint(state, folder / "ours.ckpt")),
                "stall": _seconds(lambda: in_background.save_checkpoint(state, folder / "async.ckpt")),
            }
        )
        in_background.wait()
        print(turn, rows[-1], flush=True)
    in_background.teardown()
    return rows[1:]


def _state(mib: int) -> dict[str, Any]:
    weights = {f"layer{i}": torch.randn(2**18) for i in range(mib)}
    return {"state_dict": weights, "global_step": 1, "epoch": 0}


def _plain(state: dict[str, Any], path: Path) -> None:
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def _seconds(act: Callable[[], None]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    answer_with(main)
