"""One run on several machines: they find each other, lose each other, and count every sample once."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_runs import digests, faults
from network_namespaces import ADDRESSES, cable, two_machines
from node_commands import (
    FOLDER,
    Machine,
    Node,
    attempts,
    committed,
    free_port,
    record,
    seen,
    several,
    switch_off,
    together,
    wait_for,
    write_trainer,
)

EPOCHS, SAMPLES = 3, 48
ONCE = {epoch: Counter(range(SAMPLES)) for epoch in range(EPOCHS)}
LENGTH = f"lightning.max_epochs={EPOCHS}"
SLOW = "params.wait=0.15"


@pytest.fixture(autouse=True)
def trainer_file() -> Iterator[None]:
    write_trainer()
    yield
    switch_off()


@pytest.fixture(scope="module")
def on_one_machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What two processes on one machine come to."""
    return on_one(tmp_path_factory.mktemp("one"), LENGTH)


def on_one(place: Path, length: str) -> dict[str, str]:
    home = os.getcwd()
    os.chdir(place)
    try:
        write_trainer()
        Node(length, "lightning.devices=2").end_with(0)
        return digests(FOLDER)
    finally:
        os.chdir(home)


@pytest.mark.slow
def test_two_nodes_come_to_the_same_bits_as_one_with_two_devices(on_one_machine: dict[str, str]) -> None:
    common = several("2", free_port())
    first, second = (Node(LENGTH, "lightning.devices=1", *common) for _ in range(2))
    for node in (first, second):
        assert "finished" in node.end_with(0)
    (attempt,) = attempts()
    assert len(attempt["nodes"]) == 2
    assert seen() == ONCE
    assert digests(FOLDER) == on_one_machine
    assert not list(Path(FOLDER).glob(".heartbeat-*"))


def test_a_node_that_is_lost_and_comes_back_changes_no_bit(on_one_machine: dict[str, str]) -> None:
    common = [LENGTH, SLOW, "lightning.devices=1", *several("2", free_port())]
    serves = Machine(*common)
    wait_for(FOLDER.exists)
    other = Node(*common)
    wait_for(lambda: committed() > 0, [serves, other])
    # The worst case: the others meet at this one.
    serves.kill()
    Path("hurry").touch()
    for node in (other, Node(*common)):
        node.end_with(0)
    assert attempts()[-1]["cause"] == "finished"
    assert record()["status"] == "finished"
    assert seen() == ONCE
    assert digests(FOLDER) == on_one_machine


@pytest.mark.slow
def test_a_run_shrinks_when_a_node_is_lost_and_grows_when_one_comes() -> None:
    common = [
        "lightning.max_epochs=12",
        "params.wait=0.4",
        "lightning.devices=1",
        *several("1:2", free_port()),
    ]
    stays = Node(*common)
    wait_for(lambda: committed() > 0, [stays])
    goes = Machine(*common)
    wait_for(lambda: together() == 2, [stays, goes])
    # The moment when the other is counted on and has done nothing yet.
    goes.kill()
    wait_for(lambda: len(attempts()) == 3 and together() == 1, [stays])
    comes = Node(*common)
    wait_for(lambda: together() == 2, [stays, comes])
    Path("hurry").touch()
    for node in (stays, comes):
        node.end_with(0)
    assert [a["cause"] for a in attempts()] == ["regrouped", "killed", "regrouped", "finished"]
    assert seen() == {epoch: Counter(range(SAMPLES)) for epoch in range(12)}


@pytest.mark.slow
def test_a_node_that_means_another_run_is_refused_and_the_run_goes_on_with_the_right_one() -> None:
    common = [LENGTH, "lightning.devices=1", *several("2", free_port())]
    leads = Node(*common)
    wait_for(lambda: FOLDER.exists())
    assert "another optim.lr" in Node(*common, "optim.lr=0.5").end_with(2)
    assert leads.running
    Node(*common).end_with(0)
    leads.end_with(0)
    assert len(attempts()) == 1


@pytest.mark.soak
def test_ctrl_c_on_any_node_stops_the_run_and_the_same_commands_go_on(on_one_machine: dict[str, str]) -> None:
    common = [LENGTH, SLOW, "lightning.devices=1", *several("2", free_port())]
    nodes = [Node(*common), Node(*common)]
    wait_for(lambda: committed() >= 3, nodes)
    nodes[1].send_signal(signal.SIGINT)
    began = time.monotonic()
    for node in nodes:
        node.end_with(130)
    assert time.monotonic() - began < 30
    assert record()["status"] == "stopped"
    for node in [Node(*common), Node(*common)]:
        node.end_with(0)
    assert digests(FOLDER) == on_one_machine


@pytest.mark.soak
def test_ctrl_c_while_the_run_waits_to_try_again_ends_all_nodes() -> None:
    common = [LENGTH, *faults("kill@step=2,rank=1"), "lightning.devices=1", *several("2", free_port())]
    nodes = [Node(*common), Node(*common)]
    # The first three times there is hardly a wait.
    wait_for(lambda: len(attempts()) == 4 and "end" in attempts()[-1], nodes)
    leader = json.loads((FOLDER / "run.lock").read_text())["pid"]
    os.kill(leader, signal.SIGINT)
    began = time.monotonic()
    for node in nodes:
        node.end_with(130)
    assert time.monotonic() - began < 10
    assert len(attempts()) == 4


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_two_machines_of_which_one_is_killed_ten_times_come_to_the_same_bits(
    seed: int, tmp_path: Path
) -> None:
    length = "lightning.max_epochs=8"
    expected = on_one(tmp_path, length)
    chance = random.Random(seed)
    with two_machines() as names:
        common = [length, "params.wait=0.4", "lightning.devices=1", *several("2", 29400, ADDRESSES[0])]
        nodes = [Machine(*common, namespace=name) for name in names]
        for _ in range(10):
            before, began = committed(), time.monotonic()
            wait_for(lambda before=before: committed() > before, nodes)
            print(f"went on after {time.monotonic() - began:.1f} s")
            time.sleep(chance.uniform(0, 0.5))
            victim = chance.randrange(2)
            nodes[victim].kill()
            nodes[victim] = Machine(*common, namespace=names[victim])
        for node in nodes:
            node.end_with(0)
    assert len(attempts()) == 11
    assert seen() == {epoch: Counter(range(SAMPLES)) for epoch in range(8)}
    assert digests(FOLDER) == expected


@pytest.mark.soak
def test_a_machine_whose_cable_is_pulled_is_missed_and_welcome_again(on_one_machine: dict[str, str]) -> None:
    with two_machines() as names:
        common = [LENGTH, "params.wait=0.4", "lightning.devices=1", *several("2", 29400, ADDRESSES[0])]
        nodes = [Machine(*common, namespace=name) for name in names]
        wait_for(lambda: committed() > 0, nodes)
        cable(names[1], "down")
        wait_for(lambda: attempts()[0].get("cause"), nodes, seconds=40)
        assert "was lost" in attempts()[0]["reason"]
        cable(names[1], "up")
        for node in nodes:
            node.end_with(0)
    assert seen() == ONCE
    assert digests(FOLDER) == on_one_machine


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["launch=multinode"], "run_id=NAME"),
        (["lightning.num_nodes=2"], "needs as many machines"),
        (["launch=multinode", "run_id=x"], "launch.rdzv_endpoint=HOST:PORT"),
        (["launch=multinode", "run_id=x", "launch.rdzv_endpoint=a:b"], "expected HOST:PORT"),
        (["launch=multinode", "run_id=x", "launch.rdzv_endpoint=nowhere.invalid:1"], "not known here"),
        (["launch=multinode", "run_id=x", "launch.rdzv_endpoint=localhost", "launch.nnodes=4:2"], "no more"),
        (["-m", "launch=multinode", "params.wait=0,1"], "one run on several nodes"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_remedy(
    settings: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from nimble_lightning.cli import app

    assert app.main(["trainer=ledger.py:Ledger", *settings]) == 2
    assert said in capsys.readouterr().err
