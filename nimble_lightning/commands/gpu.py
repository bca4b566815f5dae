"""`nimble-cli gpu`: the table of the start of a run, without a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.gpu.device import devices_in_use
from nimble_lightning.gpu.overview import overview
from nimble_lightning.gpu.overview_table import show


def main(words: Sequence[str]) -> int:
    """Print the devices CUDA would show to a process started here; returns the exit code."""
    parser = Parser("gpu", "Show this machine's GPUs and what is wrong with them.")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.read(words)
    found = overview(devices_in_use())
    if asked.json:
        print(json.dumps(found.to_json(), indent=2))
        return 0
    show(found, Console())
    return 0
