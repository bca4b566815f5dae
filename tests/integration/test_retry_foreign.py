"""Somebody's own Lightning script under `nimble-cli retry`: killed, it ends as if nothing had happened."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forked_command import Command

RETRY = [str(Path(sys.executable).with_name("nimble-cli")), "retry"]

# It kills itself at the steps named in its first argument, each once.
SCRIPT = """
import hashlib, os, signal, sys
from pathlib import Path
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset
from nimble_lightning.callbacks import AutoRetry

class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))

    def training_step(self, batch, batch_idx):
        done = Path(f"killed-at-{self.global_step}")
        if str(self.global_step) in sys.argv[1].split(",") and not done.exists():
            done.touch()
            if sys.argv[2:]:
                raise eval(sys.argv[2])
            os.kill(os.getpid(), signal.SIGKILL)
        x, y = batch
        return torch.nn.functional.mse_loss(self.net(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)

torch.manual_seed(0)
x = torch.randn(100, 4)
data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)
model = Model()
L.Trainer(
    max_epochs=2, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    callbacks=[AutoRetry(save_every_n_steps=3)],
).fit(model, data)
bits = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print("weights", hashlib.sha256(bits).hexdigest())
"""


def retry(*command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RETRY, *options, "--", *command], capture_output=True, text=True, timeout=120, check=False
    )


def train(*arguments: str, source: str = SCRIPT) -> tuple[int, str, str]:
    """Exit code, what it said, and the digest of the weights at the end."""
    Path("their_train.py").write_text(source)
    done = retry(sys.executable, "their_train.py", *arguments)
    said = done.stdout + done.stderr
    digest = re.search(r"^weights (\w+)$", done.stdout, re.MULTILINE)
    return done.returncode, said, digest[1] if digest else ""


def test_killed_twice_in_mid_epoch_it_ends_with_the_same_bits() -> None:
    undisturbed = Command("none", source=SCRIPT).end_with(0)
    shutil.rmtree("checkpoints")
    code, said, digest = train("7,17")
    assert code == 0, said
    assert "killed by SIGKILL: trying again in 0.0 s (1 of 5), from step 6" in said
    assert "from step 15" in said
    assert f"weights {digest}\n" in undisturbed, "nothing was lost or repeated"


@pytest.mark.slow
def test_with_two_ranks_it_does_not_matter_which_is_killed() -> None:
    two = SCRIPT.replace('accelerator="cpu"', 'accelerator="cpu", devices=2, strategy="ddp"')
    two = two.replace("os.kill(", "self.leave_half_a_save(); os.kill(").replace(
        "    def training_step",
        """    def leave_half_a_save(self):
        for folder in Path("checkpoints").iterdir():
            (folder / f".step-00000099.ckpt.tmp-{os.getpid()}").touch()

    def training_step""",
    )
    ends = []
    for step, rank in ((-1, 0), (7, 0), (7, 1)):
        script = two.replace("not done.exists()", f"not done.exists() and self.global_rank == {rank}")
        Path("killed-at-7").unlink(missing_ok=True)
        code, said, digest = train(str(step), source=script)
        assert (code, "trying again" in said) == (0, step > 0), said
        assert not list(Path("checkpoints").glob("*/.*")), "what the dead left is cleared away"
        ends.append(digest)
    assert len(set(ends)) == 1


def test_a_mistake_in_the_program_is_not_repeated() -> None:
    code, said, _ = train("4", "ValueError('a mistake')")
    assert code == 1
    assert "ValueError: a mistake; not started again" in said
    assert "trying again" not in said


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (2, 1), (3, 2)])
def test_the_exit_code_is_passed_on(code: int, starts: int) -> None:
    program = f"print('started', flush=True); raise SystemExit({code})"
    done = retry(sys.executable, "-c", program)
    assert done.returncode == code
    assert done.stdout.count("started") == starts, "the same failure twice is one of the program"


def test_without_the_callback_it_says_that_it_cannot_continue() -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = retry(sys.executable, "-c", program, options=("--max-retries", "1"))
    assert done.returncode == 128 + signal.SIGKILL
    assert "from the beginning (no fit with the callback AutoRetry was reached)" in done.stderr
    assert "not started again: tried 2 times" in done.stderr


def test_what_a_dead_script_left_running_is_ended() -> None:
    program = """
import os, signal, subprocess
left = subprocess.Popen(["sleep", "60"])
print(left.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = retry(sys.executable, "-c", program, options=("--max-retries=0",))
    left = Path("/proc", done.stdout.strip())
    until = time.monotonic() + 5
    while left.exists() and time.monotonic() < until and "Z" not in (left / "stat").read_text().split()[2]:
        time.sleep(0.05)
    assert not left.exists() or "Z" in (left / "stat").read_text().split()[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_asked_to_stop_it_stops(number: signal.Signals, code: int) -> None:
    program = "import time; print('started', flush=True); time.sleep(60)"
    running = subprocess.Popen(
        [*RETRY, "--", sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"started\n"
        os.kill(running.pid, number)
        assert running.wait(10) == code


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "retry needs a command"),
        (["--max-retries", "few", "--", "true"], "--max-retries few: expected a number"),
        (["--often", "--", "true"], "retry has no option --often"),
        (["--", "no-such-program"], "no-such-program cannot be run"),
    ],
)
def test_a_wrong_request_is_answered(words: list[str], said: str) -> None:
    done = subprocess.run([*RETRY, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
