from __future__ import annotations

from pathlib import Path

from nimble_lightning.export import about


def described(folder: Path, **facts: object) -> Path:
    (folder / "weights").write_bytes(b"12345")
    about.write(folder, facts, [folder / "weights"], {"safetensors": {"how": "x"}})
    return folder


def test_a_changed_and_a_missing_file_are_named(tmp_path: Path) -> None:
    folder = described(tmp_path)
    assert about.altered(folder) == []
    (folder / "weights").write_bytes(b"12346")
    assert about.altered(folder) == ["weights"]
    (folder / "weights").unlink()
    assert about.altered(folder) == ["weights"]


def test_what_is_no_description_of_ours_is_empty(tmp_path: Path) -> None:
    assert about.read(tmp_path) == {}
    for text in ("", "[]", '{"schema": "another/1"}'):
        (tmp_path / about.ABOUT).write_text(text)
        assert about.read(tmp_path) == {}


def test_formats_of_the_same_weights_are_described_together_and_of_others_not() -> None:
    old = {"run": {"step": 1}, "checks": {"onnx": 1}, "files": {"a": 1}}
    new = {"run": {"step": 1}, "checks": {"torch": 2}, "files": {"b": 2}}
    assert about.merged(old, new)["checks"] == {"onnx": 1, "torch": 2}
    assert about.merged(old, {**new, "run": {"step": 2}})["files"] == {"b": 2}
