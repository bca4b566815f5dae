"""A run leaves its page, finished or failed; so does a sweep; the samples go to TensorBoard as well."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import forked_command

TRAINER = """
import torch
from nimble_lightning import NimbleTrainer

class Line(NimbleTrainer):
    def pre_process(self, *, slope: float = 2.0):
        torch.set_num_threads(1)
        x = torch.linspace(-1, 1, 64)[:, None]
        self.train_data, self.eval_data = (x, slope * x), (x, slope * x)
        self.model = torch.nn.Linear(1, 1)
        self.lr = 0.1

    def train(self, batch):
        if self.model.weight.isnan().any():
            raise ValueError("lost <b>itself</b>")
        return (self.model(batch[0]) - batch[1]).square().mean()

    def evaluate(self, batch):
        return {"near": ((self.model(batch[0]) - batch[1]).abs() < 0.05).squeeze(1)}

    def predict_and_show(self):
        yield "slope", f"{self.model.weight.item():.1f}"
        yield "grey", torch.rand(4, 4)
        yield "too much", "not kept"
"""


def run(*words: str) -> CompletedProcess[str]:
    Path("line.py").write_text(TRAINER)
    return forked_command.run(
        *words, "trainer=line.py", "lightning.max_epochs=2", "lightning.accelerator=cpu"
    )


def test_a_run_leaves_its_page_and_gives_its_samples_to_tensorboard() -> None:
    done = run("run_id=first", "logger=[jsonl,tensorboard]", "show.keep=2", "log.every_n_steps=1")
    assert done.returncode == 0, done.stderr
    folder = Path("outputs/line/first")
    page = (folder / "report.html").read_text()
    assert all(words in page for words in ("finished", "train_loss", "near", "slope", "run_id=first"))
    assert len(json.loads((folder / "show/index.json").read_text())) == 2
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator("outputs/tensorboard/line/first").Reload()
    assert found.Tags()["images"] == ["show/02 grey"]
    assert "train_loss" in found.Tags()["scalars"]


def test_a_failed_member_is_on_its_own_page_and_on_that_of_the_sweep() -> None:
    done = run("-m", "run_id=swept", "params.slope=2.0,nan", "callbacks.auto_retry=null")
    assert done.returncode == 1
    sweep = Path("outputs/line/swept")
    assert "outputs/line/swept/report.html" in done.stdout
    assert "lost &lt;b&gt;itself&lt;/b&gt;" in (sweep / "1/report.html").read_text()
    page = (sweep / "report.html").read_text()
    assert page.index('href="0/report.html"') < page.index('href="1/report.html"')
    assert "lost &lt;b&gt;itself" in page


def test_without_a_page_there_is_none() -> None:
    done = run("run_id=bare", "report=false", "callbacks=none")
    assert done.returncode == 0, done.stderr
    assert not Path("outputs/line/bare/report.html").exists()
