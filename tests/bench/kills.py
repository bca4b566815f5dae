"""From SIGKILL to the first new step, on the digits example."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench.child import answer_with
from tests.bench.measure import ROOT

EVERY = 30


def main(request: dict[str, Any]) -> list[dict[str, float]]:
    """One row a kill: the seconds until a step was done again."""
    import nimble_lightning as nl

    marks, times = Path(request["folder"]) / "marks", request["repeats"]
    killer = {"_target_": "tests.bench.killer.Killer", "marks": str(marks), "every": EVERY, "times": times}
    nl.run(
        str(ROOT / "examples" / "digits.py"),
        output_dir=request["folder"],
        lightning={"max_epochs": 10, "accelerator": "cpu", "callbacks": killer},
        callbacks={"auto_retry": {"save_every_n_steps": 10}},
    )
    lines = [json.loads(line) for line in marks.read_text().splitlines()]
    pairs = zip(lines[::2], lines[1::2], strict=True)
    return [
        {"seconds": after["at"] - kill["at"], "lost": kill["step"] - after["step"] + 1}
        for kill, after in pairs
    ]


if __name__ == "__main__":
    answer_with(main)
