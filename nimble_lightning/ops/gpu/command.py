"""`nimble-cli gpu`: the table of the start of a run, without a run."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.gpu.device import devices_in_use
from nimble_lightning.ops.gpu.overview import overview
from nimble_lightning.ops.gpu.table import show


def main(words: Sequence[str]) -> int:
    """Print the devices CUDA would show to a process started here; returns the exit code."""
    unknown = [word for word in words if word not in ("--json", "-h", "--help")]
    if unknown:
        raise RequestError(f"gpu has no option {unknown[0]}; there is --json")
    if "-h" in words or "--help" in words:
        print("Usage: nimble-cli gpu [--json]\n\nThe GPUs in use here, and what is worth a look.")
        return 0
    found = overview(devices_in_use())
    if "--json" in words:
        print(json.dumps(found.as_json(), indent=2))
        return 0
    show(found, Console())
    return 0
