"""The table at the start: what is in use, in which state, and what of it costs money."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from nimble_lightning.commands import main
from nimble_lightning.gpu import Nvml, devices_in_use
from nimble_lightning.gpu.condition import concerns, condition, others
from nimble_lightning.gpu.overview import links, overview, summary
from nimble_lightning.gpu.overview_table import show
from nimble_lightning.testing import FakeGPU, FakeNVML

GB = 10**9


def warned(**facts: object) -> list[str]:
    return concerns(condition(devices_in_use(Nvml(FakeNVML(FakeGPU(**facts))), {})[0]))


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is a child of ours."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_card_in_order_has_no_warning() -> None:
    assert warned() == []
    assert warned(throttle=0x1 | 0x4, power_limit=690.0) == [], "capped or idle is nothing to worry about"


@pytest.mark.parametrize(
    ("facts", "warning"),
    [
        ({"throttle": 0x8 | 0x40}, "is being slowed down by heat and its hardware"),
        ({"throttle": 0x80}, "is being slowed down by its power supply"),
        ({"ecc_errors": 2}, "had 2 memory errors that could not be corrected"),
        ({"remap_pending": True}, "row remapping pending"),
        ({"pcie": (3, 8, 5, 16)}, "has a PCIe link of 8 lanes out of 16"),
        ({"power_limit": 300.0}, "is held to 300 W out of 700 W"),
        ({"slices": [FakeGPU()]}, "is a slice of a card (MIG is on)"),
    ],
)
def test_what_costs_money_is_said(facts: dict[str, object], warning: str) -> None:
    (said,) = warned(**facts)
    assert said.startswith("GPU 0 ")
    assert warning in said


def test_each_warning_needs_its_own_answer_alone() -> None:
    silent = FakeGPU(throttle=0x40, ecc_errors=2, power_limit=1.0)
    silent.fails = {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetEnforcedPowerLimit"}
    (said,) = concerns(condition(devices_in_use(Nvml(FakeNVML(silent)), {})[0]))
    assert "memory errors" in said


def test_another_process_on_the_card_is_named_with_what_it_holds() -> None:
    (said,) = warned(processes=[(os.getpid(), GB), (os.getppid(), 3 * GB)])
    name = Path(f"/proc/{os.getppid()}/comm").read_text().strip()
    assert said == f"GPU 0 is shared: {name} ({os.getppid()}) holds 3.0 GB of it"


def test_processes_of_ours_are_not_others(sleeper: subprocess.Popen[bytes]) -> None:
    gpu = devices_in_use(Nvml(FakeNVML(FakeGPU(processes=[(os.getpid(), GB), (sleeper.pid, GB)]))), {})[0]
    assert others(gpu) == []


def test_children_of_the_same_parent_are_ours_only_among_ranks(tmp_path: Path) -> None:
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "status").write_text(f"Name:\tpython\nPPid:\t{os.getppid()}\n")
    (tmp_path / "77" / "comm").write_text("python\n")
    gpu = devices_in_use(Nvml(FakeNVML(FakeGPU(processes=[(77, GB)]))), {})[0]
    assert others(gpu, siblings=True, proc=tmp_path) == []
    assert [process.name for process in others(gpu, proc=tmp_path)] == ["python"]


def test_in_a_container_this_process_is_not_taken_for_another(tmp_path: Path) -> None:
    """There the driver tells numbers from outside, under which no process can be looked up."""
    gpu = devices_in_use(Nvml(FakeNVML(FakeGPU(processes=[(1, 5 * GB)]))), {})[0]
    assert others(gpu, held=4 * GB + GB // 2, proc=tmp_path) == []
    assert [process.memory for process in others(gpu, held=GB, proc=tmp_path)] == [5 * GB]


def test_links_that_are_all_alike_are_one_word() -> None:
    alike = links(devices_in_use(Nvml(FakeNVML(*(FakeGPU(nvlinks=18) for _ in range(4)))), {}))
    assert len(alike) == 6
    assert summary(alike) == "NVLink"


def test_links_that_differ_are_told_by_pair() -> None:
    mixed = FakeNVML(FakeGPU(nvlinks=4), FakeGPU(nvlinks=4), FakeGPU())
    assert summary(links(devices_in_use(Nvml(mixed), {}))) == (
        "NVLink: 0-1; the link between processors: 0-2, 1-2"
    )


def shown(fake: FakeNVML, *, terminal: bool = False, environ: dict[str, str] | None = None) -> str:
    out = io.StringIO()
    with fake:
        found = overview(devices_in_use(environ=environ or {}))
        show(found, Console(file=out, force_terminal=terminal, width=120, no_color=True))
    return out.getvalue()


def test_the_table_says_what_there_is() -> None:
    text = shown(FakeNVML(FakeGPU(nvlinks=18, name="NVIDIA H200 [x]"), FakeGPU(power_limit=400.0)))
    assert "driver 999.99, CUDA 13.0" in text
    (row,) = (line for line in text.splitlines() if "H200" in line)
    assert " ".join(row.split()) == "0 NVIDIA H200 [x] 1.0 of 80.0 GB 700 W 50 °C gen 5 x16 18"
    assert "! GPU 1 is held to 400 W out of 700 W" in text
    assert "\x1b" not in text


def test_in_a_terminal_it_is_a_table_too() -> None:
    assert "NVIDIA Fake" in shown(FakeNVML(FakeGPU()), terminal=True)


def test_what_is_unknown_is_a_question_mark() -> None:
    queries = ["MemoryInfo", "EnforcedPowerLimit", "Temperature", "CurrPcieLinkWidth", "NvLinkState"]
    text = shown(FakeNVML(FakeGPU(fails={f"nvmlDeviceGet{query}" for query in queries})))
    (row,) = (line for line in text.splitlines() if "NVIDIA Fake" in line)
    assert " ".join(row.split()) == "0 NVIDIA Fake ? ? ? ? -"


def test_without_a_gpu_it_is_one_line_and_no_error() -> None:
    (line,) = shown(FakeNVML()).splitlines()
    assert line.startswith("no GPU in use (")
    assert "RAM" in line
    assert "disk" in line


def test_where_cards_differ_their_numbers_are_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    mixed = FakeNVML(FakeGPU(name="A"), FakeGPU(name="B"))
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in shown(mixed)
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert "CUDA_DEVICE_ORDER" not in shown(mixed)


def test_the_command_prints_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with FakeNVML(FakeGPU(name="NVIDIA First"), FakeGPU(name="NVIDIA Second")):
        assert main.main(["gpu"]) == 0
    said = capsys.readouterr().out
    assert "NVIDIA Second" in said
    assert "NVIDIA First" not in said


def test_the_command_speaks_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with FakeNVML(FakeGPU(ecc_errors=1), FakeGPU()):
        assert main.main(["gpu", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [device["memory"] for device in facts["devices"]] == [[GB, 80 * GB]] * 2
    assert facts["driver"] == "999.99"
    assert len(facts["warnings"]) == 1


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["gpu", "--jsn"]) == 2
    assert "gpu has no option --jsn; did you mean --json?" in capsys.readouterr().err


def test_the_command_needs_no_torch() -> None:
    code = (
        "import sys; from nimble_lightning.commands.main import main; main(['gpu']);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
