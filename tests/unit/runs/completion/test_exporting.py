from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export import metadata
from nimble_lightning.export.exportable_models import ExportedModel
from nimble_lightning.runs.completion import exports
from nimble_lightning.runs.heartbeat import Heart, Phase, read
from nimble_lightning.runs.job import Job
from nimble_lightning.worker.export_best import AtEnd, facts_of, owner_of_returned


def job(folder: Path, **settings: object) -> Job:
    config = {"trainer": "x", "name": "n", "run_id": "r", "seed": 1, "export": ["safetensors"], **settings}
    trainer = str(config["trainer"])
    made = Job.from_config(OmegaConf.create(config), trainer=trainer, folder=folder / "run")
    made.folder.create()
    return made


def test_exports_are_whole_until_a_file_changes(tmp_path: Path) -> None:
    assert not metadata.is_whole(tmp_path)
    for name in ("a", "b"):
        folder = metadata.folder_for(tmp_path, name, 2)
        folder.mkdir()
        (folder / "weights").write_text(name)
        metadata.write(folder, {}, [folder / "weights"], {})
    assert metadata.exported_in(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert metadata.is_whole(tmp_path)
    (tmp_path / "b/weights").write_text("c")
    assert not metadata.is_whole(tmp_path)


def test_facts_hold_references_names_of_files_and_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("pass")
    params = {"key": "${oc.env:MY_API_KEY}", "typed": "correct-horse-battery"}
    model = ExportedModel("model", nn.Linear(1, 1))
    mine = job(tmp_path, trainer=f"{file}:Mine", params=params)
    monkeypatch.setenv("MY_API_KEY", "correct-horse-battery")
    facts = facts_of(mine, model, "/a/best-1.ckpt", 1)
    assert facts["model"]["trainer"] == "mine.py:Mine"
    assert facts["run"]["checkpoint"] == "best-1.ckpt"
    assert "correct-horse-battery" not in json.dumps(facts)
    assert str(tmp_path) not in json.dumps(facts)


def test_every_rank_asks_for_patience_and_the_first_alone_exports(tmp_path: Path) -> None:
    trained = SimpleNamespace(model=nn.Linear(2, 2))
    for rank in (1, 0):
        mine = job(tmp_path / str(rank))
        heart = Heart(tmp_path / f"heart-{rank}")
        AtEnd(mine, rank, heart).export(trained, None, 7)
        beat = read(tmp_path / f"heart-{rank}")
        assert beat is not None
        assert (beat.phase, beat.step) == (Phase.SAVING, 7)
        assert mine.folder.exported.exists() == (rank == 0)


def test_a_part_of_the_weights_is_never_taken_for_the_model(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine, trained = job(tmp_path), SimpleNamespace(model=nn.Linear(2, 2))
    exporting = AtEnd(mine, 0)
    exporting.see(trained)
    trained.model.weight = nn.Parameter(torch.ones(2))
    exporting.export(trained, None, None)
    assert "only a part of model" in caplog.text
    assert not mine.folder.exported.exists()


def test_what_cannot_be_exported_is_a_warning_with_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = job(tmp_path)
    AtEnd(mine, 0).export(SimpleNamespace(), None, None)
    assert f"nimble-cli export {mine.folder.path} --to safetensors" in caplog.text
    assert not mine.folder.exported.exists()


def test_the_model_of_a_hugging_face_trainer_goes_with_its_tokenizer() -> None:
    returned = SimpleNamespace(model=nn.Linear(1, 1), processing_class="tokenizer")
    owner = owner_of_returned(SimpleNamespace(), returned)
    assert (owner.model, owner.tokenizer) == (returned.model, "tokenizer")


def test_a_finished_run_has_a_card_and_one_without_exports_has_none(tmp_path: Path) -> None:
    mine = job(tmp_path)
    exports.finish(mine)
    assert not mine.folder.exported.exists()
    AtEnd(mine, 0).export(SimpleNamespace(model=nn.Linear(2, 2)), None, None)
    exports.finish(mine)
    assert (mine.folder.exported / "README.md").read_text() == exports.card_for(mine, mine.folder.exported)
    assert metadata.is_whole(mine.folder.exported)


def test_an_export_of_other_formats_that_fails_is_a_warning_with_the_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports.sys, "executable", "/bin/false")
    mine = job(tmp_path, export=["safetensors", "onnx"])
    exports.finish(mine)
    assert "onnx were not exported" in caplog.text
    assert f"nimble-cli export {mine.folder.path} --to onnx --out {mine.folder.exported}" in caplog.text


def test_nothing_that_a_link_leads_to_is_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "push_folder", lambda *words, **more: "pushed")
    mine, private = job(tmp_path), tmp_path / "private"
    private.write_text("private")
    mine.folder.exported.mkdir()
    (mine.folder.exported / "weights").write_text("weights")
    metadata.write(mine.folder.exported, {}, [mine.folder.exported / "weights"], {})
    assert exports.push_to_hub(mine, mine.folder.exported, "me/mine") == "pushed"
    for link in (mine.folder.exported / "more.txt", mine.folder.path / "statement.json.sig"):
        link.symlink_to(private)
        with pytest.raises(ExportError, match=rf"{link.name} is a link"):
            exports.push_to_hub(mine, mine.folder.exported, "me/mine")
        link.unlink()
