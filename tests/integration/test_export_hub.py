"""Pushes to a Hub on this machine: what arrives, what is tried again, what a failure costs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fake_hub
import pytest

TRAINERS = Path(__file__).parents[1] / "helpers" / "export_trainers.py"
NIMBLE_CLI = Path(sys.executable).with_name("nimble-cli")


@pytest.fixture(scope="module")
def hub() -> Iterator[fake_hub.FakeHub]:
    with fake_hub.running() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_goes_wrong(hub: fake_hub.FakeHub) -> None:
    hub.fail, hub.corrupt = [], False


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def nimble(hub: fake_hub.FakeHub, home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run(hub, home, NIMBLE_CLI, *words)


def program(hub: fake_hub.FakeHub, home: Path, code: str, *words: object) -> subprocess.CompletedProcess[str]:
    return run(hub, home, sys.executable, "-c", code, *words)


def run(hub: fake_hub.FakeHub, home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library asks the environment for its Hub once."""
    return subprocess.run(
        list(map(str, words)),
        env={**os.environ, **hub.environment(home)},
        capture_output=True,
        text=True,
        timeout=200,
    )


def train(hub: fake_hub.FakeHub, home: Path, kind: str, *words: str) -> tuple[Path, str]:
    options = [f"run_id={kind}", f"output_dir={home}", "launch=inline", "lightning.max_epochs=3"]
    done = nimble(hub, home, "train", f"{TRAINERS}:{kind}", "callbacks=[default,hub_push]", *options, *words)
    assert done.returncode == 0, done.stderr[-2000:]
    run = home / "export_trainers" / kind
    return run, (run / "log.txt").read_text() + done.stderr


@pytest.fixture(scope="module")
def pushed(hub: fake_hub.FakeHub, home: Path) -> Path:
    run, _ = train(
        hub,
        home,
        "Decoder",
        "callbacks.hub_push.repo=me/live",
        "callbacks.hub_push.strategy=all_checkpoints",
        "callbacks.auto_retry.save_every_n_steps=1",
    )
    return run


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_run_pushes_its_checkpoints_and_in_the_end_its_best_weights_with_a_card(
    hub: fake_hub.FakeHub, pushed: Path
) -> None:
    repo, best = hub.repos["me/live"], files(pushed / "best")
    assert {name: repo[name] for name in best} == best
    assert b"val_loss" in best["README.md"]
    checkpoints = files(pushed / "checkpoints/steps")
    newest = max(name for name in checkpoints if name.endswith(".ckpt"))
    assert [name for name in repo if name.startswith("last-")] == [
        f"last-checkpoint/{newest}",
        f"last-checkpoint/{newest}.manifest.json",
    ]
    assert repo[f"checkpoints/{newest}"] == checkpoints[newest]
    # All there ever were, of which two are left here.
    steps = {int(name[5:13]) for name in checkpoints if name.endswith(".ckpt")}
    pushed_steps = {int(name[17:25]) for name in repo if re.fullmatch(r"checkpoints/step-\d+\.ckpt", name)}
    assert pushed_steps == set(range(1, max(steps) + 1))
    assert hub.commits[-1] == "Run Decoder"
    assert any(path.endswith("/info/lfs/objects/batch") for _, path in hub.requests)
    assert not (pushed / ".hub").exists()


def test_what_was_pushed_loads_by_its_name(hub: fake_hub.FakeHub, home: Path, pushed: Path) -> None:
    code = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model, here = (AutoModelForCausalLM.from_pretrained(place) for place in ("me/live", {here!r}))
assert all(a.equal(b) for a, b in zip(model.state_dict().values(), here.state_dict().values(), strict=True))
assert AutoTokenizer.from_pretrained("me/live")("hello world")["input_ids"] == [5, 6]
"""
    done = program(hub, home, code.format(here=str(pushed / "best")))
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_command_pushes_what_was_checked_before_and_tries_again(
    hub: fake_hub.FakeHub, home: Path, pushed: Path
) -> None:
    hub.fail = [503, 200]
    done = nimble(hub, home, "export", pushed, "--to", "hub", "--repo", "me/again")
    assert done.returncode == 0, done.stderr
    assert "/me/again/commit/" in done.stdout
    assert {name: hub.repos["me/again"][name] for name in files(pushed / "best")} == files(pushed / "best")


# It is tried again after seconds that this test need not wait for.
DAMAGED = """
import sys
from pathlib import Path
from nimble_lightning.export.hub_upload import push
from nimble_lightning.errors import ExportError
try:
    push(Path(sys.argv[1]), "me/damaged", message="some", sleep=lambda seconds: None)
except ExportError as error:
    print(error)
"""


def test_a_refusal_and_a_damaged_upload_are_errors_and_cost_no_local_file(
    hub: fake_hub.FakeHub, home: Path, pushed: Path
) -> None:
    before = files(pushed)
    hub.fail = [403]
    done = nimble(hub, home, "export", pushed, "--to", "hub", "--repo", "me/refused")
    assert (done.returncode, hub.repos["me/refused"]) == (1, {})
    assert "Pushing to me/refused failed" in done.stderr
    hub.corrupt = True
    hub.large.clear()
    done = program(hub, home, DAMAGED, pushed / "best")
    assert "failed" in done.stdout, done.stderr[-2000:]
    assert hub.repos["me/damaged"] == {}
    assert files(pushed) == before


@pytest.mark.slow
def test_a_run_that_cannot_push_is_finished_and_says_how_to_push_later(
    hub: fake_hub.FakeHub, home: Path
) -> None:
    hub.fail = [403] * 20
    run, said = train(hub, home, "Mlp", "callbacks.hub_push.repo=me/never")
    assert f"nimble-cli export {run} --to hub --repo me/never" in said
    assert (run / "best/model.safetensors").exists()
    assert hub.repos["me/never"] == {}


def test_a_folder_of_a_repository_is_replaced_in_one_commit(
    hub: fake_hub.FakeHub, home: Path, tmp_path: Path
) -> None:
    code = """
import sys
from pathlib import Path
from nimble_lightning.export.hub_upload import push
for name in ("a.ckpt", "b.ckpt"):
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    (folder / name).write_text(name)
    (folder / ".hidden").touch()
    push(folder, "me/replaced", message=name, under="last-checkpoint", replace=True)
    push(folder, "me/replaced", message=name, under="checkpoints")
"""
    done = program(hub, home, code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "B/s" not in done.stderr
    assert sorted(hub.repos["me/replaced"]) == [
        "checkpoints/a.ckpt",
        "checkpoints/b.ckpt",
        "last-checkpoint/b.ckpt",
    ]
