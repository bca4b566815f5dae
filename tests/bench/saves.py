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
    """One row a turn: seconds of each way to save the same state under a new name, as runs do."""
    from nimble_lightning.checkpoint import AsyncNimbleCheckpointIO, NimbleCheckpointIO

    torch.set_num_threads(1)
    folder, state = Path(request["folder"]), _state(request["mib"])
    ours, in_background = NimbleCheckpointIO(), AsyncNimbleCheckpointIO()
    rows = []
    # The first turn warms up: the copy's memory, the files' blocks.
    for turn in range(request["repeats"] + 1):
        ways: list[tuple[str, Callable[[Path], None]]] = [
            ("plain", lambda path: _plain(state, path)),
            ("ours", lambda path: ours.save_checkpoint(state, path)),
        ]
        # Whoever comes first finds the memory in another state than who comes second.
        row = {name: _seconds(save, folder) for name, save in (ways if turn % 2 else reversed(ways))}
        row["stall"] = _seconds(
            lambda path: in_background.save_checkpoint(state, path), folder, in_background.wait
        )
        rows.append(row)
        print(turn, row, flush=True)
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


def _seconds(
    save: Callable[[Path], None], folder: Path, afterwards: Callable[[], None] = lambda: None
) -> float:
    path = folder / "state.ckpt"
    started = time.perf_counter()
    save(path)
    took = time.perf_counter() - started
    afterwards()
    for left in folder.iterdir():
        left.unlink()
    return took


if __name__ == "__main__":
    answer_with(main)
