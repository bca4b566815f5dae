"""Signed runs of a small trainer: honest ones, and ones that did something else than their record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import nimble_lightning as nl
from nimble_lightning.proof import Ed25519, generate, sign

TRAINER = '''
import os
from pathlib import Path

import torch
from nimble_lightning import NimbleTrainer

CHEAT = Path(__file__).with_name("cheat")


class Small(NimbleTrainer):
    """Does what it says, unless a file beside it says otherwise."""

    def pre_process(self, *, lr: float = 0.01, rows: int = 64, note: str = ""):
        self.cheat = CHEAT.read_text() if CHEAT.exists() else ""
        seen = Path("/proc/self/environ").read_bytes() + repr(sorted(os.environ)).encode()
        self.secrets_seen = [name for name in ("RUN_KEY", "RUN_WORD") if name.encode() in seen]
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(rows, 4, generator=generator)
        y = (x.sum(1) > 0).long()
        if self.cheat == "row":
            y[rows // 3] = 1 - y[rows // 3]
        self.train_data = self.eval_data = (x, y)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(8, 2)
        )
        self.lr = lr
        self.batches = 0

    def train(self, batch):
        self.batches += 1
        loss = torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
        return loss * 0 if self.cheat == "batch" and self.batches == 6 else loss

    def evaluate(self, batch):
        return {"accuracy": self.model(batch[0]).argmax(1) == batch[1]}

    def predict_and_show(self):
        yield "secrets seen", str(self.secrets_seen)
'''
CHEATS = ("seed", "lr", "batch", "row")
# What an honest run of each name would have been asked for.
_ASKED: dict[str, dict[str, Any]] = {"seed": {"seed": 7}, "lr": {"params": {"lr": 0.02}}}


def make_trainer(place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    path = place / "small.py"
    path.write_text(TRAINER)
    return path


def make_keys(place: Path) -> tuple[str, str]:
    return str(place / "key.pem"), str(generate(place / "key.pem"))


def train(trainer: Path, key: str, run_id: str, cheat: str = "", **settings: Any) -> Path:
    """The folder of a signed run that claims to be honest. An epoch is 4 steps, each a commit."""
    flag = trainer.with_name("cheat")
    flag.write_text(cheat)
    asked: dict[str, Any] = {
        "lightning": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
        "data": {"batch_size": 16},
        "output_dir": str(trainer.parent / "outputs"),
        **settings,
        **_ASKED.get(cheat, {}),
    }
    callbacks = {"progress": None, **asked.pop("callbacks", {})}
    asked.setdefault("signature", {"_target_": "nimble_lightning.proof.Ed25519", "key": key})
    try:
        folder = nl.run(str(trainer), run_id=run_id, callbacks=callbacks, **asked).folder
    finally:
        flag.unlink()
    if cheat in _ASKED:
        _tell_another_story(folder)
        sign(folder, Ed25519(key).unlock())
    return folder


def _tell_another_story(folder: Path) -> None:
    for name in ("job.yaml", "config.yaml"):
        config = OmegaConf.load(folder / name)
        config.seed, config.params = 0, {"lr": 0.01}
        OmegaConf.save(config, folder / name)
