from __future__ import annotations

from pathlib import Path

from nimble_lightning.export import metadata


def described(folder: Path, **facts: object) -> Path:
    (folder / "weights").write_bytes(b"12345")
    metadata.write(folder, facts, [folder / "weights"], {"safetensors": {"how": "x"}})
    return folder


def test_a_changed_and_a_missing_file_are_named(tmp_path: Path) -> None:
    folder = described(tmp_path)
    assert metadata.altered(folder) == []
    (folder / "weights").write_bytes(b"12346")
    assert metadata.altered(folder) == ["weights"]
    (folder / "weights").unlink()
    assert metadata.altered(folder) == ["weights"]


def test_what_is_no_description_of_ours_is_empty(tmp_path: Path) -> None:
    assert metadata.read(tmp_path) == {}
    for text in ("", "[]", '{"schema": "another/1"}'):
        (tmp_path / metadata.ABOUT).write_text(text)
        assert metadata.read(tmp_path) == {}


def test_formats_of_the_same_weights_are_described_together_and_of_others_not() -> None:
    old = {"run": {"step": 1}, "checks": {"onnx": 1}, "files": {"a": 1}}
    new = {"run": {"step": 1}, "checks": {"torch": 2}, "files": {"b": 2}}
    assert metadata.merged(old, new)["checks"] == {"onnx": 1, "torch": 2}
    assert metadata.merged(old, {**new, "run": {"step": 2}})["files"] == {"b": 2}
