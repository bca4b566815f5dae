"""`nimble-cli export RUN --to merged`: an adapter and its base as one, compared with what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_chat
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import nimble_lightning as nl
from nimble_lightning.commands import main
from nimble_lightning.errors import RequestError
from nimble_lightning.export import metadata
from nimble_lightning.export.formats import find_spec

peft = pytest.importorskip("peft")
# Of the same promises, unit/export/test_export_adapters.py is quick.
pytestmark = pytest.mark.slow


def trained(folder: Path, name: str, export: object = "safetensors", **params: object) -> Path:
    result = nl.run(
        "nimble_lightning.llm:SFT",
        launch="inline",
        run_id=name,
        output_dir=str(folder / "outputs"),
        params={
            **{"model": str(folder / "tiny"), "data": str(folder / "chats.jsonl"), "longest": 128},
            **{"answer_tokens": 2, "rank": 4, **params},
        },
        data={"batch_size": 4},
        lightning={"accelerator": "cpu", "max_epochs": 2},
        optim={"lr": 1e-2},
        callbacks="none",
        export=export,
    )
    assert result.status == "finished"
    return Path(result.folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("merged")
    tiny_chat.save(made / "tiny")
    tiny_chat.write(made / "chats.jsonl", tiny_chat.conversations(24))
    return made


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    return trained(folder, "lora")


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = model.eval()(torch.arange(40)[None] * 7 % 300).logits
    return found


def test_it_answers_as_the_adapter_on_its_base_does_needs_no_peft_and_is_trained_further(
    folder: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main.main(["export", str(run), "--to", "merged", "--out", str(tmp_path), "--trust"]) == 0
    assert "merged of model, step" in (said := capsys.readouterr().out)
    assert "largest difference" in said
    merged = tmp_path / "merged"
    assert metadata.read(merged)["checks"]["merged"]["max_difference"] <= 1e-5
    assert metadata.read(merged)["model"]["class"].endswith("LlamaForCausalLM")
    assert metadata.is_whole(tmp_path)
    assert not list(merged.glob("adapter*"))
    base = AutoModelForCausalLM.from_pretrained(folder / "tiny")
    untrained = logits(base)
    wanted = logits(peft.PeftModel.from_pretrained(base, run / "best"))
    assert (logits(AutoModelForCausalLM.from_pretrained(merged)) - wanted).abs().max() <= 1e-5
    assert (untrained - wanted).abs().max() > 1e-2
    assert AutoTokenizer.from_pretrained(merged).chat_template == tiny_chat.CHATML
    assert {path: path.read_bytes() for path in before} == before
    assert trained(folder, "further", model=str(tmp_path), rank=2)


def test_an_adapter_on_an_adapter_is_refused_with_what_merges_the_first(folder: Path, run: Path) -> None:
    with pytest.raises(RequestError, match="--to merged --trust; then model=RUN-exported"):
        trained(folder, "on_top", model=str(run))


def test_it_is_made_at_the_end_of_a_run_beside_the_adapter(folder: Path) -> None:
    run = trained(folder, "both", export=["safetensors", "merged"])
    assert metadata.is_whole(run / "best")
    assert (run / "best/adapter_config.json").is_file()
    wanted = logits(peft.AutoPeftModelForCausalLM.from_pretrained(run / "best"))
    assert (logits(AutoModelForCausalLM.from_pretrained(run / "best/merged")) - wanted).abs().max() <= 1e-5
    card = (run / "best/README.md").read_text()
    assert "from transformers import LlamaForCausalLM" in card


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_of_tied_embeddings_unties_them(folder: Path, tmp_path: Path, dora: bool) -> None:
    tiny_chat.save(folder / "tied", tie_word_embeddings=True)
    run = trained(
        folder, f"tied_{dora}", model=str(folder / "tied"), targets=["lm_head", "q_proj"], dora=dora
    )
    assert main.main(["export", str(run), "--to", "merged", "--out", str(tmp_path), "--trust"]) == 0
    assert json.loads((tmp_path / "merged/config.json").read_text())["tie_word_embeddings"] is False


def test_a_base_that_is_another_by_now_is_not_merged_with(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "tiny", tmp_path / "base")
    run = trained(folder, "moved", model=str(tmp_path / "base"))
    words = ["export", str(run), "--to", "merged", "--out", str(tmp_path / "out"), "--trust"]
    other = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        other.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    other.save_pretrained(tmp_path / "base")
    assert main.main(words) == 1
    assert "is not the model that this run trained on: model.base_model" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "base")
    assert main.main(words) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_without_an_adapter_has_nothing_to_merge(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(folder, "whole", rank=0)
    assert main.main(["export", str(run), "--to", "merged", "--trust"]) == 2
    assert f"nothing to merge: {run / 'best'} holds the whole of it" in capsys.readouterr().err


def test_without_peft_the_line_that_installs_it_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "nimble_lightning.export.formats.find_spec", lambda n: None if n == "peft" else find_spec(n)
    )
    assert main.main(["export", str(run), "--to", "merged", "--trust"]) == 2
    assert "pip install 'nimble-lightning[llm]'" in capsys.readouterr().err
