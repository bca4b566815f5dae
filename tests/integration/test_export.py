"""Exports of real runs: what is in best/, what the command makes, what is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import nimble_lightning as nl
from nimble_lightning.commands import main
from nimble_lightning.commands.export import command
from nimble_lightning.export import metadata

TRAINERS = Path(__file__).parents[1] / "helpers" / "export_trainers.py"
# What each format answers is compared with the model's to this.
TOLERANCE = 1e-5


def trained(kind: str, folder: Path, **settings: object) -> Path:
    """A finished run of a few steps."""
    result = nl.run(
        f"{TRAINERS}:{kind}",
        launch="inline",
        run_id=kind,
        output_dir=str(folder),
        **{"lightning": {"max_epochs": 2, "accelerator": "cpu"}, "callbacks": "none", **settings},
    )
    assert result.status == "finished"
    return result.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Path:
    return trained("Decoder", folder, callbacks="default")


def best_of(run: Path) -> Path:
    return Path(json.loads((run / "run.json").read_text())["best_checkpoint"])


def checks_in(folder: Path) -> dict[str, dict]:
    return metadata.read(folder)["checks"]


def test_a_run_ends_with_its_best_weights_in_a_folder_from_pretrained_understands(decoder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    best = torch.load(best_of(decoder), weights_only=True)["state_dict"]
    model = AutoModelForCausalLM.from_pretrained(decoder / "best")
    assert all(torch.equal(value, best[f"model.{name}"]) for name, value in model.state_dict().items())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert AutoTokenizer.from_pretrained(decoder / "best")("hello world")["input_ids"] == [5, 6]
    assert metadata.altered(decoder / "best") == []
    assert "Llama" in (decoder / "best/README.md").read_text()


@pytest.mark.slow
def test_an_export_answers_like_the_model_in_other_shapes_in_a_fresh_process(
    decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    before = {path: path.read_bytes() for path in decoder.rglob("*") if path.is_file()}
    words = ["export", str(decoder), "--to", "safetensors", "onnx", "--out", str(out), "--trust"]
    assert main.main(words) == 0
    for name in ("safetensors", "onnx"):
        check = checks_in(out)[name]
        assert check["max_difference"] <= TOLERANCE
        assert check["shapes"] == [[[4, 10]] * 2, [[5, 5]] * 2, [[1, 10]] * 2]
    assert "largest difference" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before, "a run's folder may be signed"
    assert inputs_of(out / "model.onnx") == {
        "input_ids": ["batch", "length"],
        "attention_mask": ["batch", "length"],
    }


def inputs_of(path: Path) -> dict[str, list[str]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return {given.name: given.shape for given in session.get_inputs()}


def test_a_checkpoint_that_was_altered_is_not_exported(folder: Path, tmp_path: Path) -> None:
    run = trained("Mlp", folder / "altered", callbacks="default")
    checkpoint = best_of(run)
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    assert (
        main.main(["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "out"), "--trust"]) == 1
    )
    assert not (tmp_path / "out").exists()


def test_a_model_that_learned_nothing_is_not_exported_and_the_run_is_finished_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("Mlp", folder / "nothing", params={"lr": 0.0}, callbacks="default")
    assert not (run / "best").exists()
    said = (run / "log.txt").read_text()
    assert "untouched base model" in said
    assert f"nimble-cli export {run} --to safetensors" in said
    assert main.main(["export", str(run), "--to", "safetensors", "--trust"]) == 1
    assert "untouched base model" in capsys.readouterr().err


def test_several_models_have_a_folder_each(folder: Path) -> None:
    run = trained("Two", folder)
    assert sorted(path.name for path in (run / "best").iterdir()) == ["README.md", "body", "model"]
    assert set(load_file(run / "best/body/model.safetensors")) == {"weight", "bias"}


def test_an_export_can_be_switched_off(folder: Path) -> None:
    assert not (trained("Mlp", folder / "off", export=None) / "best").exists()


def test_a_trainer_that_builds_another_model_by_now_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("Mlp", folder / "changed", callbacks="default")
    job = run / "job.yaml"
    job.write_text(job.read_text().replace(":Mlp", ":Cnn"))
    assert (
        main.main(["export", str(run), "--to", "safetensors", "--out", str(tmp_path / "out"), "--trust"]) == 1
    )
    assert "no longer builds the model" in capsys.readouterr().err


def test_a_folder_that_is_no_run_and_a_hub_without_a_name_are_refused(
    decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["export", str(tmp_path), "--to", "onnx"]) == 2
    assert "holds no run" in capsys.readouterr().err
    assert main.main(["export", str(decoder), "--to", "hub"]) == 2
    assert "--repo" in capsys.readouterr().err
    assert main.main(["export", str(decoder), "--to", "pickle"]) == 2


def test_without_the_packages_for_onnx_the_line_to_install_them_is_named(
    decoder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nimble_lightning.export.formats.find_spec", lambda name: None)
    assert main.main(["export", str(decoder), "--to", "onnx", "--trust"]) == 2
    assert "pip install 'nimble-lightning[onnx]'" in capsys.readouterr().err


def test_the_folder_of_a_run_that_was_moved_can_be_exported(decoder: Path, tmp_path: Path) -> None:
    from nimble_lightning.api.load import best_checkpoint
    from nimble_lightning.run_folder import RunFolder

    moved = tmp_path / "moved"
    subprocess.run(["cp", "-r", str(decoder), str(moved)], check=True)
    assert best_checkpoint(RunFolder(moved), "Decoder").parent == moved / "checkpoints/best"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Mlp", "Cnn", "Tokens", "Decoder", "Encoder", "Two"])
def test_every_kind_of_model_in_every_format(kind: str, folder: Path, tmp_path: Path) -> None:
    run = trained(kind, folder / "matrix", callbacks="default")
    out = tmp_path / "out"
    assert command.main([str(run), "--to", "safetensors", "torch", "onnx", "--out", str(out), "--trust"]) == 0
    found = [out] if kind != "Two" else [out / "body", out / "model"]
    for one in found:
        assert {name: check["max_difference"] <= TOLERANCE for name, check in checks_in(one).items()} == {
            "safetensors": True,
            "torch": True,
            "onnx": True,
        }
        batches = {shapes[0][0] for shapes in checks_in(one)["onnx"]["shapes"]}
        assert batches == {4, 5, 1}
    if kind in ("Tokens", "Decoder", "Encoder"):
        assert {shapes[0][1] for shapes in checks_in(out)["torch"]["shapes"]} == {10, 5}


@pytest.mark.slow
def test_other_formats_at_the_end_of_a_run_come_from_a_process_of_their_own(folder: Path) -> None:
    run = trained("Mlp", folder / "more", callbacks="default", export=["safetensors", "onnx"])
    assert set(checks_in(run / "best")) == {"safetensors", "onnx"}
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "best/model.onnx").stat().st_size
