"""Secrets come into a run by many ways; none is in anything that the run leaves or shows."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from endpoints import Service, service, until

from nimble_lightning.notifications.sender_process import COALESCE, LINGER

WAYS = {
    "override": "ov",
    "variable": "va",
    "variable_of_a_name": "vn",
    "yaml": "ya",
    "yaml_password": "yp",
    "apprise_file": "af",
    "apprise_header": "ah",
    "exception": "ex",
    "url_in_traceback": "ut",
    "password_in_traceback": "pt",
    "hparams": "hp",
    "notebook": "nb",
}
CANARIES = {way: f"Canary7-{short}-5Kq9Zt" for way, short in WAYS.items()}

# Variables as people have them, with values of every kind; the part that must not be seen.
VARIABLES = {
    "PGPASSWORD": ("swordfish", "swordfish"),
    "GH_PAT": ("Zq7-pat-3x", "Zq7-pat-3x"),
    "OPENAI_KEY": ("Zq7-key-3x", "Zq7-key-3x"),
    "DATABASE_URL": ("postgresql://me:Zq7db3x@db/x", "Zq7db3x"),
    "SMTP_PASS": ("Zq7Pw", "Zq7Pw"),
    "PASSPHRASE": ("wide horse battery", "wide horse battery"),
    "AUTH": ("me:Zq7au3x", "Zq7au3x"),
    "AWS_CREDENTIAL": ("Zq7-cred-3x", "Zq7-cred-3x"),
    "SECRETKEY": ("Zq7-skey-3x", "Zq7-skey-3x"),
    "ACCESSTOKEN": ("Zq7-atok-3x", "Zq7-atok-3x"),
    "API_TOKEN": ("/Zq7+tok/3x==", "Zq7+tok"),
    "REGISTRY_PASSWORD": ("Zq7reg", "Zq7reg"),
    "LICENCE": ("Zq7Rz2LmX9vKd4TwY8bNc", "Zq7Rz2LmX9vKd4TwY8bNc"),
    "HUB": ("hf_" + "Zq7Rz2Lm" * 5, "Zq7Rz2Lm" * 5),
}
CANARIES |= {name: part for name, (_, part) in VARIABLES.items()}

# On a command line for a moment, where the first test below may look that runs beside: not one of those.
TYPED = "Canary8-ty-5Kq9Zt"

TRAINER = """
    import os
    import lightning as L
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Model(L.LightningModule):
        def __init__(self, token: str = "", secret: str = "", lr: float = 0.1):
            super().__init__()
            self.save_hyperparameters()
            self.layer = nn.Linear(2, 1)

        def on_train_epoch_end(self):
            print("using", self.hparams.token, self.hparams.secret, os.environ["MY_API_KEY"])
            others = [os.environ[name] for name in os.environ["SHOWN"].split()]
            print(*others)
            if self.current_epoch == 1 and not os.path.exists("failed_once"):
                open("failed_once", "w").close()
                raise ConnectionError(
                    f"{others}, {self.hparams.token} and {os.environ['SERVICE_PASSWORD']} were refused by "
                    "https://example.com/x?access_token=%(url_in_traceback)s via "
                    "https://me:%(password_in_traceback)s@example.com/"
                )

        def training_step(self, batch, batch_idx):
            loss = self.layer(batch[0]).square().mean()
            self.log("val_loss", loss)
            return loss

        def train_dataloader(self):
            return DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)
"""

NOTEBOOK = """
    import os
    import nimble_lightning as nl
    from secretive import Model

    class Cell(Model):
        pass

    Cell.__qualname__ = "notebook.Cell"
    nl.run(
        Cell,
        params={"token": "${oc.env:MY_NOTEBOOK}"},
        logger="csv",
        lightning={"max_epochs": 1, "accelerator": "cpu"},
        output_dir="notebook",
    )
"""


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv(LINGER, "20")
    monkeypatch.setenv(COALESCE, "0.1")
    with service() as serving:
        yield serving


@pytest.fixture
def place(tmp_path: Path, good: Service) -> Path:
    """A project whose secrets are where they belong: in the environment and in a private file."""
    # Of these two the text is in the file that raises; what a traceback quotes of it is masked all the same.
    (tmp_path / "secretive.py").write_text(textwrap.dedent(TRAINER) % CANARIES)
    (tmp_path / "notebook.py").write_text(textwrap.dedent(NOTEBOOK))
    at = f"127.0.0.1:{good.server_port}/good"
    file = tmp_path / "apprise.yml"
    file.touch(0o600)
    file.write_text(
        f"urls:\n  - json://{at}/{CANARIES['apprise_file']}?+X-Tok={CANARIES['apprise_header']}\n"
    )
    experiment = tmp_path / "conf" / "experiment" / "mine.yaml"
    experiment.parent.mkdir(parents=True)
    experiment.write_text(
        "# @package _global_\n"
        "callbacks:\n  notification:\n    urls: ['${oc.env:HOOK}', '${oc.env:HOOK_2}', 'secret:HOOK_3', "
        f"'{file}']\n"
    )
    return tmp_path


def environment(good: Service) -> dict[str, str]:
    at = f"127.0.0.1:{good.server_port}/good"
    return {
        **os.environ,
        "HOOK": f"json://{at}/{CANARIES['yaml']}",
        "HOOK_2": f"json://someone:{CANARIES['yaml_password']}@{at}",
        "HOOK_3": f"json://{at}/{CANARIES['variable_of_a_name']}",
        "GIVEN": CANARIES["override"],
        "SECRETIVE": CANARIES["hparams"],
        "MY_API_KEY": CANARIES["variable"],
        "SERVICE_PASSWORD": CANARIES["exception"],
        "MY_NOTEBOOK": CANARIES["notebook"],
        "SHOWN": " ".join(VARIABLES),
        **{name: value for name, (value, _) in VARIABLES.items()},
    }


def shown_by(command: list[str], place: Path, good: Service) -> list[str]:
    """Runs a command; returns all it printed, and the command line of every process there was meanwhile."""
    seen: set[str] = set()
    output = place / "terminal.txt"
    with open(output, "w") as terminal:
        process = subprocess.Popen(
            command, cwd=place, env=environment(good), stdout=terminal, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            for each in psutil.process_iter(["cmdline"]):
                seen.add(" ".join(each.info["cmdline"] or []))
            time.sleep(0.1)
    text = output.read_text()
    output.unlink()
    assert process.returncode == 0, text
    return [text, *seen]


def files_under(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from ((f"{path}:{name}", archive.read(name)) for name in archive.namelist())


def hits(where: str, content: str | bytes) -> list[str]:
    data = content.encode() if isinstance(content, str) else content
    return [f"{way} in {where}" for way, canary in CANARIES.items() if canary.encode() in data]


def test_no_canary_is_in_anything_a_run_writes_shows_or_sends(place: Path, good: Service) -> None:
    command = [sys.executable, "-m", "nimble_lightning", "trainer=secretive.py:Model", "--config-dir", "conf"]
    settings = [
        "experiment=mine",
        "run_id=one",
        "logger=[jsonl,csv,tensorboard]",
        "callbacks.auto_retry=true",
    ]
    secret = ["params.token=${oc.env:GIVEN}", "params.secret=${oc.env:SECRETIVE}"]
    short = ["lightning.max_epochs=3", "lightning.accelerator=cpu"]
    shown = shown_by([*command, *settings, *secret, *short], place, good)
    shown += shown_by([sys.executable, "notebook.py"], place, good)
    (run,) = place.glob("outputs/*/one")
    assert until(lambda: any("finished" in message["title"] for message in good.messages))

    found = [hit for name, data in files_under(place / "outputs") for hit in hits(name, data)]
    found += [hit for name, data in files_under(place / "notebook") for hit in hits(name, data)]
    found += [hit for text in shown for hit in hits(text[:200], text)]
    found += [hit for message in good.messages for hit in hits("a message", str(message))]
    assert found == []

    # They were there to be found: the run used them, failed over them and told so.
    assert "using *** *** ***" in (run / "log.txt").read_text()
    assert "*** and *** were refused" in (run / "errors" / "attempt-1.rank-0.json").read_text()
    assert "*** and *** were refused" in str(good.messages)
    assert any(name.endswith(".ckpt") for name, _ in files_under(run))
    assert "secret: '***'" in "".join(path.read_text() for path in place.rglob("hparams.yaml"))


@pytest.mark.parametrize("word", ["callbacks.notification.urls=['{}']", "callbacks.notification.urls='{}'"])
def test_an_address_on_the_command_line_is_refused_before_anything_is_written(
    place: Path, good: Service, word: str
) -> None:
    url = f"{good.url}/{TYPED}"
    done = subprocess.run(
        [sys.executable, "-m", "nimble_lightning", "trainer=secretive.py:Model", word.format(url)],
        cwd=place,
        env=environment(good),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "holds an address itself" in done.stderr
    assert TYPED not in done.stdout + done.stderr
    assert not (place / "outputs").exists()


def test_an_address_after_the_flag_is_gone_from_the_process_list(place: Path, good: Service) -> None:
    program = (
        "import sys\n"
        "from nimble_lightning.commands.main import main\n"
        "if 'secret:' in ' '.join(sys.argv): print(open('/proc/self/cmdline').read())\n"
        "sys.exit(main())\n"
    )
    (place / "nimble-cli").write_text(program)
    url = f"{good.url}/{TYPED}"
    words = ["train", "secretive.py", "--notification", url, "--cfg", "job"]
    done = subprocess.run(
        [sys.executable, "nimble-cli", *words],
        cwd=place,
        env=environment(good),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "secret:NIMBLE_NOTIFICATION_1" in done.stdout
    assert TYPED not in done.stdout + done.stderr
