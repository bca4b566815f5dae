"""All ranks of every member of a sampled sweep train the very same values."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path
from textwrap import dedent

import pytest
from external_launchers import by_hand
from forked_command import Command

pytest.importorskip("optuna")

# Whatever is sampled goes into the model, so the digest of its weights speaks for all of it.
TRAINER = """
import hashlib
import json
import os
from pathlib import Path

import torch
from nimble_lightning import NimbleTrainer, param


class Sampled(NimbleTrainer):
    def pre_process(
        self,
        *,
        lr: float = param(1e-2, low=1e-4, high=1e-1, log=True),
        hidden: int = param(4, low=2, high=16),
        kind: str = param("relu", choices=["relu", "tanh"]),
    ):
        x = torch.arange(16.0)[:, None]
        self.train_data = self.eval_data = (x, x)
        between = torch.nn.ReLU() if kind == "relu" else torch.nn.Tanh()
        self.model = torch.nn.Sequential(torch.nn.Linear(1, hidden), between, torch.nn.Linear(hidden, 1))
        self.lr, self.values = lr, {"lr": lr, "hidden": hidden, "kind": kind}

    def train(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def evaluate(self, batch):
        hashed = hashlib.sha256(repr(sorted(self.values.items())).encode())
        for parameter in self.model.parameters():
            hashed.update(parameter.detach().numpy().tobytes())
        line = {"trial": self.trial.number, "digest": hashed.hexdigest(), "values": self.values}
        with open(f"trained.rank-{os.environ['RANK']}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\\n")
        return {"loss": (self.model(batch[0]) - batch[1]).square().mean()}
"""


SETTINGS = [
    "trainer=sampled.py",
    "sweep_id=s",
    "strategy=ddp",
    "lightning.devices=2",
    "lightning.accelerator=cpu",
    "lightning.max_epochs=1",
    "+lightning.num_sanity_val_steps=0",
    "data.batch_size=8",
    "callbacks=none",
    "report=false",
    "export=null",
]


def sample(trials: int, *settings: str) -> None:
    Path("sampled.py").write_text(dedent(TRAINER))
    search = ["-m", "hydra/sweeper=search", "monitor=val_loss", f"hydra.sweeper.trials={trials}"]
    done = Command(*search, *SETTINGS, *settings).end(3600)
    assert done.returncode == 0, done


def check_ranks_agree(trials: int) -> None:
    """Of each trial both ranks wrote one and the same digest, and no two trials are the same."""
    digests: dict[int, dict[int, set[str]]] = defaultdict(dict)
    for rank in (0, 1):
        for line in Path(f"trained.rank-{rank}.jsonl").read_text().splitlines():
            one = json.loads(line)
            digests[one["trial"]].setdefault(rank, set()).add(one["digest"])
    assert len(digests) == trials
    alike = [trial for trial, ranks in digests.items() if ranks[0] == ranks[1] and len(ranks[0]) == 1]
    assert len(alike) == trials, f"{len(alike)} of {trials}"
    assert len({next(iter(ranks[0])) for ranks in digests.values()}) == trials


@pytest.mark.soak
def test_both_ranks_of_every_member_of_a_search_train_the_same() -> None:
    sample(2, "hydra.sweeper.sampler=random")
    check_ranks_agree(2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_fifty_of_fifty(sampler: str) -> None:
    sample(50, f"hydra.sweeper.sampler={sampler}", "launch.jobs=1")
    check_ranks_agree(50)


@pytest.mark.soak
def test_a_planted_difference_is_found_before_a_process_group_is_made() -> None:
    """How long it took from the start of both commands is printed."""
    began = time.monotonic()
    ranks = by_hand(["run_id=some", "params.lr=0.01"], ["run_id=some", "params.lr=0.02"])
    said = [command.end_with(2) for command in ranks]
    print(f"refused {time.monotonic() - began:.2f} s after both commands were typed")
    assert "different values of params.lr;" in said[0]
    assert "distributed_backend" not in said[0]
