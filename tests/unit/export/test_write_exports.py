from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nimble_lightning.errors import ExportError
from nimble_lightning.export import metadata, safetensors, write_exports
from nimble_lightning.export.compare_weights import fingerprint
from nimble_lightning.export.exportable_models import ExportedModel


def model() -> ExportedModel:
    return ExportedModel("model", nn.Linear(3, 3))


def test_weights_are_saved_with_what_is_known_about_them(tmp_path: Path) -> None:
    out = tmp_path / "best"
    write_exports.save_weights(model(), out, {"run": {"id": "x"}})
    told = metadata.read(out)
    assert told["run"] == {"id": "x"}
    assert set(told["files"]) == {"model.safetensors"}
    assert told["checks"]["safetensors"]["how"] == write_exports.BIT_BY_BIT
    assert metadata.altered(out) == []
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    out = tmp_path / "best"
    write_exports.save_weights(model(), out, {})
    (out / "old").touch()
    later = model()
    write_exports.save_weights(later, out, {})
    assert torch.equal(load_file(out / "model.safetensors")["weight"], later.module.weight)
    assert not (out / "old").exists()


def test_an_untouched_base_model_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    untrained = model()
    untrained.base = fingerprint(untrained.module)
    with pytest.raises(ExportError, match="untouched base model"):
        write_exports.save_weights(untrained, tmp_path / "best", {})
    assert list(tmp_path.iterdir()) == []


def test_a_part_nobody_optimized_passes_beside_one_that_was_trained() -> None:
    idle, busy = model(), model()
    for one in (idle, busy):
        one.base = fingerprint(one.module)
    write_exports.judge_together([idle, busy])
    assert idle.base is not None, "none of them was trained"
    with torch.no_grad():
        busy.module.weight += 1
    write_exports.judge_together([idle, busy])
    assert idle.base is None
    assert busy.base is not None


def test_what_is_not_the_model_is_never_kept_and_what_was_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "best"
    write_exports.save_weights(model(), out, {"run": 1})

    def damaged(wanted: ExportedModel, folder: Path, state: object = None) -> None:
        tensors = {name: value + 1 for name, value in wanted.module.state_dict().items()}
        save_file(tensors, folder / safetensors.WEIGHTS)

    monkeypatch.setattr(safetensors, "save", damaged)
    with pytest.raises(ExportError, match="are not the model"):
        write_exports.save_weights(model(), out, {"run": 2})
    assert metadata.read(out)["run"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
