"""The page for those who come from the HF Trainer has a row for every field, and the row is true."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from nimble_lightning.api.hf.training_arguments import FIELDS
from nimble_lightning.report import shipped_defaults

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "from_hf_trainer.md"
# Filled in by hand, or taken by Lightning as it stands.
_OPEN = ("lightning.", "+")


def rows() -> list[str]:
    found = ["| field | HFTrainer | NimbleTrainer | |", "|---|---|---|---|"]
    for name, field in FIELDS.items():
        setting = "none" if field.setting is None else f"`{field.setting}`" if field.setting else "nothing"
        found.append(f"| {name} | {field.does} | {setting.replace('{}', 'N')} | {field.note} |")
    return found


def test_the_page_has_the_table() -> None:
    assert "\n".join(rows()) in PAGE.read_text(encoding="utf-8")


def test_a_field_that_transformers_adds_fails_here() -> None:
    transformers = pytest.importorskip("transformers")
    assert {field.name for field in fields(transformers.TrainingArguments)} == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_exists(name: str) -> None:
    known = {".".join(path) for path, _ in shipped_defaults.leaves(shipped_defaults.defaults())}
    known |= {key.rpartition(".")[0] for key in known} | {key.partition(".")[0] for key in known}
    conf = ROOT / "conf"
    for part in (FIELDS[name].setting or "").split():
        key, _, choice = part.partition("=")
        if key.startswith(_OPEN):
            continue
        group, *inner = key.split(".")
        if (conf / group).is_dir():
            files = {path.stem: path.read_text(encoding="utf-8") for path in (conf / group).glob("*.yaml")}
            chosen = re.fullmatch(r"[\w]+", choice)
            assert not chosen or inner or choice in files, part
            assert not inner or any(inner[0] in files or f"{inner[0]}:" in text for text in files.values()), (
                part
            )
        else:
            assert key in known, part
