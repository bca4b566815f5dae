"""A run is signed when it ends, by a key no worker sees; whoever trains a stretch of it again gets its bits,
and finds out whoever did something else than he says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import replay_cases as cases
import torch

import nimble_lightning as nl
from nimble_lightning.commands.main import main
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.launch.start import start
from nimble_lightning.proof import Report, verify
from nimble_lightning.replay.retrain import ReplayTerms, replay


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("proof")


@pytest.fixture(scope="module")
def trainer(place: Path) -> Path:
    return cases.make_trainer(place / "mine")


@pytest.fixture(scope="module")
def keys(place: Path) -> tuple[str, str]:
    return cases.make_keys(place)


@pytest.fixture(scope="module")
def honest(trainer: Path, keys: tuple[str, str]) -> Path:
    return cases.train(trainer, keys[0], "honest")


def replayed(folder: Path, key: str, **terms: Any) -> Report:
    report = verify(folder, key)
    assert report.verified, report.lines()
    replay(folder, report, ReplayTerms(**terms), start)
    return report


def test_a_run_is_signed_when_it_has_ended(honest: Path, keys: tuple[str, str]) -> None:
    claims = verify(honest, keys[1]).claims
    assert claims["status"] == "finished"
    assert claims["step"] == 8
    assert claims["data"]["train"]["covered"] == 1.0
    assert claims["code"]["trainer"]["name"] == "small.py"
    assert claims["hardware"]["device"] == "cpu"
    assert claims["environment"]["packages"]["torch"] in torch.__version__
    assert claims["metrics"] == json.loads((honest / "run.json").read_text())["metrics"]


def test_an_honest_run_is_the_same_to_the_bit_far_from_where_it_ran(
    honest: Path, keys: tuple[str, str], trainer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(honest, tmp_path / "elsewhere")
    other = shutil.copy(trainer, tmp_path / "small.py")
    words = ["verify", str(copy), "--key", keys[1], "--replay", "3", "--trainer", str(other), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    (again,) = told["replays"]
    assert (again["from"], again["to"], again["same"], again["exact"]) == (4, 8, True, True)
    assert "keeps: 1, asked for: 3" in told["notes"][0]
    assert verify(copy, keys[1]).verified, "a replay leaves nothing in the folder"


@pytest.mark.parametrize("cheat", cases.CHEATS)
def test_a_run_that_did_something_else_is_found_out(trainer: Path, keys: tuple[str, str], cheat: str) -> None:
    folder = cases.train(trainer, keys[0], f"cheat-{cheat}", cheat)
    report = replayed(folder, keys[1])
    assert not report.verified
    assert {problem.kind for problem in report.problems} == {"replay"}


def test_another_trainer_is_refused(honest: Path, keys: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(cases.TRAINER + "\n")
    with pytest.raises(RequestError, match="is not the file that was signed"):
        replayed(honest, keys[1], trainer=str(tmp_path / "small.py"))
    with pytest.raises(RequestError, match="--trainer FILE"):
        replayed(honest, keys[1], trainer=str(tmp_path / "none.py"))


def test_data_that_are_not_those_of_the_run_are_told(honest: Path, keys: tuple[str, str]) -> None:
    report = replayed(honest, keys[1], params={"rows": 60})
    assert not report.verified


def test_stretches_from_all_over_a_run_are_kept_and_replayed(trainer: Path, keys: tuple[str, str]) -> None:
    signature = {"_target_": "nimble_lightning.proof.Ed25519", "key": keys[0], "keep_stretches": 4}
    folder = cases.train(
        trainer,
        keys[0],
        "stretches",
        signature=signature,
        lightning={"max_epochs": 4, "accelerator": "cpu", "enable_progress_bar": False},
        schedule="cosine",
    )
    report = replayed(folder, keys[1], count=3)
    assert report.verified, report.lines()
    assert sorted((r["from"], r["to"]) for r in report.replays) == [(4, 8), (8, 12), (12, 16)]


def test_averaged_weights_are_the_same_to_the_bit_too(trainer: Path, keys: tuple[str, str]) -> None:
    average = {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging", "decay": 0.9}
    report = replayed(cases.train(trainer, keys[0], "ema", callbacks={"ema": average}), keys[1])
    assert report.verified, report.lines()


def test_no_worker_sees_the_key(
    trainer: Path, keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUN_KEY", Path(keys[0]).read_text())
    # Starts the server from which workers are forked, with the key in its environment.
    nl.run(str(trainer), run_id="before", lightning={"max_epochs": 1, "accelerator": "cpu"})
    signature = {"_target_": "nimble_lightning.proof.Ed25519", "key": "env:RUN_KEY"}
    folder = cases.train(trainer, keys[0], "hidden", signature=signature)
    assert verify(folder, keys[1]).verified
    assert "[]" in (folder / "show" / "01.txt").read_text()
    assert os.environ["RUN_KEY"] == Path(keys[0]).read_text(), "it is back when the run has ended"


@pytest.mark.slow
def test_the_members_of_a_sweep_are_signed_and_none_of_their_workers_sees_the_key(
    trainer: Path, keys: tuple[str, str], tmp_path: Path
) -> None:
    words = [f"trainer={trainer}", "params.lr=0.1,0.2", "sweep_id=s", f"output_dir={tmp_path}"]
    words += [
        "signature=ed25519",
        "signature.key=env:RUN_KEY",
        "lightning.accelerator=cpu",
        "data.batch_size=32",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "nimble_lightning", "-m", *words, "lightning.max_epochs=1"],
        env={**os.environ, "RUN_KEY": Path(keys[0]).read_text()},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for member in ("0", "1"):
        folder = tmp_path / "small" / "s" / member
        report = verify(folder, keys[1])
        assert report.verified, report.lines()
        assert "[]" in (folder / "show" / "01.txt").read_text()


def test_a_key_that_does_not_open_is_refused_before_the_run(trainer: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read"):
        cases.train(trainer, str(tmp_path / "none.pem"), "refused")
    assert not list(trainer.parent.glob("outputs/small/refused/checkpoints/steps/*"))


def test_a_secret_in_the_folder_is_named_by_the_command_and_not_signed(
    honest: Path,
    keys: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = shutil.copytree(honest, tmp_path / "copy")
    monkeypatch.setenv("MY_TOKEN", "a-secret-of-mine")
    with open(copy / "job.yaml", "a") as file:
        file.write("note: ${oc.env:MY_TOKEN}\n")
    assert main(["sign", str(copy), "--key", keys[0]]) == 0
    (copy / "log.txt").write_text("posting to https://a-secret-of-mine@host\n")
    assert main(["sign", str(copy), "--key", keys[0]]) == 2
    said = capsys.readouterr().err
    assert "log.txt holds the value of MY_TOKEN" in said
    assert "a-secret" not in said


def test_a_model_is_loaded_once_its_run_is_verified_or_trusted(
    honest: Path, keys: tuple[str, str], trainer: Path, tmp_path: Path
) -> None:
    model = nl.load(honest, key=keys[1])
    best = json.loads((honest / "run.json").read_text())["best_checkpoint"]
    with pytest.warns(UserWarning, match="vouched for by nobody"):
        weights = nl.load(best)["state_dict"]
    assert torch.equal(model[0].weight, weights["model.0.weight"])
    assert not model.training
    with pytest.raises(RequestError, match=r"nobody vouches for it.*trust=True"):
        nl.load(honest)
    for again in (nl.load(honest, trust=True), nl.load(honest, trainer=str(trainer))):
        assert torch.equal(again[0].weight, model[0].weight)
    copy = shutil.copytree(honest, tmp_path / "copy")
    (copy / "log.txt").write_text("altered")
    with pytest.raises(CheckpointError, match="log.txt"):
        nl.load(copy, key=keys[1])


def test_what_would_run_code_is_loaded_only_on_request(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "foreign.pt")
    with pytest.warns(UserWarning, match="nobody"), pytest.raises(CheckpointError, match="weights_only=True"):
        nl.load(tmp_path / "foreign.pt")
    assert isinstance(nl.load(tmp_path / "foreign.pt", unpickle=True)["model"], torch.nn.Linear)
