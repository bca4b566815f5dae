"""Every example, run as its first lines say, from another folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forked_command import Command

EXAMPLES = Path(__file__).parents[2] / "examples"


def record(name: str) -> dict:
    (path,) = Path("outputs", name).glob("*/run.json")
    found = json.loads(path.read_text())
    assert found["status"] == "finished"
    return found


def test_there_is_a_test_for_each_example() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested


def test_digits() -> None:
    Command(f"trainer={EXAMPLES / 'digits.py'}").end_with(0)
    assert record("digits")["metrics"]["accuracy"] >= 0.97
    assert "read as" in next(Path("outputs/digits").glob("*/log.txt")).read_text()


def test_language_model() -> None:
    small = ["lightning.max_epochs=1", "params.functions=600", "data.micro_batch_size=16"]
    Command(f"trainer={EXAMPLES / 'language_model.py'}", *small).end_with(0)
    assert record("language_model")["metrics"]["val_loss"] < 4.0, (
        "better than guessing among 128 characters (4.85)"
    )


def test_chat() -> None:
    pytest.importorskip("peft")
    Command(f"trainer={EXAMPLES / 'chat.py'}", "lightning.max_steps=6", "data.batch_size=4").end_with(0)
    assert record("chat")["metrics"]["perplexity"] < 600, "better than guessing"
    (shown,) = Path("outputs/chat").glob("*/show/01.json")
    assert [row["asked"] for row in json.loads(shown.read_text())][0] == "What is the capital of Norway?"


def test_lightning_module() -> None:
    Command(f"trainer={EXAMPLES / 'lightning_module.py'}", "params.width=16").end_with(0)
    assert record("lightning_module")["metrics"]["test_accuracy"] > 0.9


def test_original_sdk() -> None:
    words = ["train", str(EXAMPLES / "original_sdk.py"), "--auto_retry"]
    source = "from nimble_lightning.commands.main import main; raise SystemExit(main())"
    Command(*words, source=source).end_with(0)
    assert record("original_sdk")["metrics"]["accuracy"] > 0.85
    assert "a flower called" in next(Path("outputs/original_sdk").glob("*/log.txt")).read_text()


def test_existing_project() -> None:
    script = (EXAMPLES / "existing_project.py").read_text()
    for _ in range(2):
        said = Command(source=script).end_with(0)
    assert "best checkpoint:" in said
    assert "Restored all states" in said, "the second time it goes on where the first ended"
