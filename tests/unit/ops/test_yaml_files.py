"""A configuration is read as what it says, never as more than it could be."""

from __future__ import annotations

import pytest

from nimble_lightning.ops import yaml_files


def test_numbers_are_numbers_and_an_alias_is_what_it_stands_for() -> None:
    assert yaml_files.load("lr: 1e-8\na: &a [1, 2]\nb: *a\nc: '<<'\n") == {
        "lr": 1e-8,
        "a": [1, 2],
        "b": [1, 2],
        "c": "<<",
    }


@pytest.mark.parametrize("line", ["{0}: &{0} [{1}]", "{0}: &{0} {{<<: [{1}]}}"])
def test_a_few_lines_that_stand_for_a_milliard_are_refused(line: str) -> None:
    lines = ["a: &a {x: 1}"]
    for before, name in zip("abcdefghi", "bcdefghij", strict=True):
        lines.append(line.format(name, ", ".join([f"*{before}"] * 9)))
    with pytest.raises(ValueError, match="more in it|merge"):
        yaml_files.load("\n".join(lines))


@pytest.mark.parametrize(
    "text", ["a: &a {x: *a}", "a: " + "[" * 50_000, "a: !!python/object/apply:os.getcwd []", "a: [", "\0"]
)
def test_whatever_is_no_configuration_is_a_value_error(text: str) -> None:
    with pytest.raises(
        ValueError, match="more in it|could not|expected|special|recursion|unacceptable|control"
    ):
        yaml_files.load(text)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ({"a": 1, "b": ["x", {"c": "y"}]}, None),
        ({"a": {"b": "x/${oc.env:HOME}"}}, "params.a.b"),
        ({"a": [1, {"_target_": "os.system"}]}, "params.a._target_"),
        ("${x}", "params"),
    ],
)
def test_what_is_more_than_a_plain_value_is_named(value: object, key: str | None) -> None:
    assert yaml_files.first_of_more(value, "params") == key
