"""How long a plan takes, and how much memory: a decoder of 7 billion parameters on 1,024 ranks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measure import ROOT, environment
from tests.bench.tables import table

_DECODER = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from nimble_lightning import NimbleTrainer

class Decoder(NimbleTrainer):
    def pre_process(self, *, length: int = 2048):
        self.train_data = [{"input_ids": torch.zeros(length, dtype=torch.long)} for _ in range(8)]
        self.model = LlamaForCausalLM(LlamaConfig(use_cache=False))

    def train(self, batch):
        return self.model(**batch, labels=batch["input_ids"]).loss
"""
_MEASURED = """
import resource, sys
from nimble_lightning.commands.main import main
main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
"""
_WORDS = (
    "data.batch_size=8",
    "lightning.num_nodes=128",
    "lightning.devices=8",
    "lightning.precision=bf16-mixed",
)


def plan() -> str:
    with tempfile.TemporaryDirectory(prefix="nimble-bench-") as folder:
        file = Path(folder) / "decoder.py"
        file.write_text(_DECODER)
        words = [sys.executable, "-c", _MEASURED, "plan", str(file), "--device=H100", "--json", *_WORDS]
        began = time.perf_counter()
        done = subprocess.run(words, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
        wall = time.perf_counter() - began
    answer, used = done.stdout.strip().splitlines()
    seconds, kib = map(float, used.split())
    parameters = json.loads(answer)["parameters"] / 1e9
    rows = [[f"{parameters:.2f} billion, 1,024 ranks", f"{wall:.1f}", f"{seconds:.1f}", f"{kib / 2**20:.2f}"]]
    return "A plan\n\n" + table(["", "s", "s of CPU", "peak GiB"], rows)
