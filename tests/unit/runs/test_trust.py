"""A run folder is data until somebody vouches for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.trust import TrustTerms, Vouched, vouched
from nimble_lightning.settings import RunSettings

TRAINER = """
from pathlib import Path
from subprocess import getoutput
from nimble_lightning import NimbleTrainer

Path("imported").touch()

class Mine(NimbleTrainer):
    def pre_process(self, *, lr: float = 0.1): pass
    def train(self, batch): pass
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "trust_mine.py"
    path.write_text(TRAINER)
    return path


def run(mine: Path, **asked: Any) -> Path:
    config = OmegaConf.create({"run_id": "one", "seed": 3, "params": {"lr": 0.5}, "data": {}, **asked})
    job = Job.from_config(
        config, trainer=str(asked.get("trainer") or f"{mine}:Mine"), folder=mine.parent / "run"
    )
    job.save()
    return job.folder.path


def named(folder: Path, mine: Path) -> Vouched:
    return vouched(folder, TrustTerms(trainer=str(mine)))


def test_by_itself_it_has_nothing_run_and_says_what_to_type(mine: Path) -> None:
    with pytest.raises(RequestError, match=r"nobody vouches.*trainer=FILE.*key=PUB.*trust=True"):
        vouched(run(mine), TrustTerms())
    assert not Path("imported").exists()


def test_a_key_that_has_not_signed_it_is_no_reason(mine: Path, tmp_path: Path) -> None:
    from nimble_lightning.proof import generate

    with pytest.raises(CheckpointError, match="not what was signed"):
        vouched(run(mine), TrustTerms(key=str(generate(tmp_path / "key.pem"))))
    assert not Path("imported").exists()


def test_one_that_is_trusted_is_taken_at_its_word(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE", "0.25")
    found = vouched(run(mine, params={"lr": "${oc.env:RATE}"}, datamodule="x:Data"), TrustTerms(trust=True))
    assert found.target.__name__ == "Mine"
    assert found.settings.params == {"lr": "0.25"}
    assert found.settings.datamodule == "x:Data"
    monkeypatch.delenv("RATE")
    with pytest.raises(RequestError, match="RATE"):
        vouched(run(mine, params={"lr": "${oc.env:RATE}"}, datamodule="x:Data"), TrustTerms(trust=True))


def test_a_trainer_of_the_user_gets_plain_parameters_and_nothing_else_of_the_folder(mine: Path) -> None:
    found = named(run(mine, datamodule="x:Data", optim={"_target_": "os.system"}), mine)
    assert (found.target.__name__, found.whole) == ("Mine", False)
    plain = {"trainer": f"{mine}:Mine", "params": {"lr": 0.5}, "seed": 3, "name": found.job.name}
    assert found.settings == RunSettings.from_config(plain)


@pytest.mark.parametrize(
    ("params", "key"),
    [({"lr": "${oc.env:HOME}"}, "params.lr"), ({"a": [{"_target_": "os.system"}]}, "params.a._target_")],
)
def test_what_stands_for_something_else_is_not_given_to_it(
    mine: Path, params: dict[str, Any], key: str
) -> None:
    with pytest.raises(RequestError, match=f"{key} of .* is no plain value"):
        named(run(mine, params=params), mine)


@pytest.mark.parametrize("name", ["getoutput", "Path"])
def test_what_the_file_only_imports_is_no_trainer(mine: Path, name: str) -> None:
    from nimble_lightning.adapters import UserTrainer

    folder = run(mine, trainer=f"elsewhere.py:{name}")
    with pytest.raises(RequestError, match="is a function of subprocess|no method pre_process"):
        UserTrainer(named(folder, mine).target, {})
