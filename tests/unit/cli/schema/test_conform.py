"""A value fits a written type, is made to fit, or is refused with what would."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.cli.schema.conform import conform, like
from nimble_lightning.cli.schema.scalars import Mismatch
from nimble_lightning.cli.schema.source_code import read

FITS = [
    (3, "int", 3),
    (1e3, "int", 1000),
    ("7", "int", 7),
    (1, "float", 1.0),
    ("1e-3", "float", 1e-3),
    (True, "bool", True),
    ("false", "bool", False),
    ("x", "str", "x"),
    (2024, "str", "2024"),
    (None, "int | None", None),
    (None, "Optional[int]", None),
    (None, "None", None),
    (3, "Union[str, int]", 3),
    (1, "float | int", 1),
    ("a", "Literal['a', 'b']", "a"),
    (16, "Literal['16', '32']", "16"),
    ("16", "Literal[16]", 16),
    ([1, 2], "list[float]", [1.0, 2.0]),
    ([0.9, 0.99], "tuple[float, float]", [0.9, 0.99]),
    ([1, 2, 3], "Tuple[int, ...]", [1, 2, 3]),
    ([], "list", []),
    ({"a": 1}, "dict[str, float]", {"a": 1.0}),
    ({"a": [1]}, "Mapping[str, Sequence[int]]", {"a": [1]}),
    ("data/x", "Path", "data/x"),
    ("data/x", "pathlib.Path", "data/x"),
    ("anything", "torch.dtype", "anything"),
    ({"_target_": "x"}, "int", {"_target_": "x"}),
    (3, "Annotated[int, 'more than 0']", 3),
    (3, "'int'", 3),
    ("x", "not a type (", "x"),
    (None, "Any", None),
    (1, "Positive", 1),
    (0, "Natural", 0),
]

MISFITS = [
    ("abc", "float", "float"),
    ("abc", "int", "int"),
    (3.5, "int", "int"),
    (True, "int", "int"),
    (True, "float", "float"),
    (1, "bool", "bool"),
    (True, "str", "str"),
    (1.5, "str", "str"),
    ({"a": 1}, "str", "str"),
    (None, "int", "int"),
    ("x", "int | None", "int or null"),
    ("x", "Optional[int]", "int or null"),
    ("c", "Literal['a', 'b']", "one of 'a', 'b'"),
    (True, "Literal['a', 1]", "one of 'a', 1"),
    ("x", "Literal['auto'] | int", "int or 'auto'"),
    (3, "list[int]", "a list"),
    (["x"], "list[int]", "int"),
    ([1], "tuple[int, int]", "a list of 2"),
    (3, "dict", "a mapping"),
    ({"a": "x"}, "dict[str, int]", "int"),
    (1.5, "Path", "a path"),
    (0, "Positive", "at least 1"),
    ("x", "Positive", "at least 1"),
    (-1, "Natural", "at least 0"),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), FITS)
def test_a_fitting_value_comes_back_as_its_type_wants_it(value: Any, annotation: str, expected: Any) -> None:
    result = conform(value, annotation)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(("value", "annotation", "expected"), MISFITS)
def test_a_misfit_is_refused_with_what_would_fit(value: Any, annotation: str, expected: str) -> None:
    with pytest.raises(Mismatch) as refusal:
        conform(value, annotation)
    assert expected in refusal.value.expected


def test_a_choice_almost_right_is_named() -> None:
    with pytest.raises(Mismatch) as refusal:
        conform("rleu", "Literal['relu', 'gelu']")
    assert refusal.value.hint("rleu") == "; did you mean 'relu'?"
    assert refusal.value.hint("zzz") == ""


@pytest.mark.parametrize("value", ["RED", 1, "green"])
def test_an_enum_of_the_file_takes_names_and_values(write: Callable[[str, str], Path], value: Any) -> None:
    source = read(write("e.py", "class Color(Enum):\n    RED = 1\n    GREEN = 'green'\n"))
    assert conform(value, "Color", source) == value
    with pytest.raises(Mismatch, match="one of RED, GREEN"):
        conform("BLUE", "Color", source)


def test_an_alias_is_looked_up_where_it_is_imported_from(write: Callable[[str, str], Path]) -> None:
    write("kinds.py", "Act = Literal['relu', 'gelu']\n")
    source = read(write("user.py", "from kinds import Act\n"))
    assert conform("gelu", "Act", source) == "gelu"
    with pytest.raises(Mismatch, match="'relu'"):
        conform("tanh", "Optional[Act]", source)


@pytest.mark.parametrize(
    ("default", "fits", "misfit"),
    [
        ("3", 2.5, "x"),
        ("1e-3", 1, "x"),
        ("True", False, 3),
        ("'a'", "b", [1]),
        ("[1]", [2, 3], 4),
        ("{}", {"a": 1}, 2),
    ],
)
def test_without_a_type_the_kind_of_the_default_decides(default: str, fits: Any, misfit: Any) -> None:
    expression = ast.parse(default, mode="eval").body
    assert like(fits, expression) == fits
    with pytest.raises(Mismatch):
        like(misfit, expression)


@pytest.mark.parametrize("default", [None, "None", "SIZE", "f(2)"])
def test_a_default_that_says_nothing_accepts_everything(default: str | None) -> None:
    expression = ast.parse(default, mode="eval").body if default else None
    assert like("x", expression) == "x"
    assert like(3, expression) == 3


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
plain = st.sampled_from(
    ["int", "float", "bool", "str", "None", "Path", "Any", "Positive", "Literal['a', 1]", "X"]
)
types = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.builds("{} | {}".format, inner, inner),
        st.builds("Optional[{}]".format, inner),
        st.builds("list[{}]".format, inner),
        st.builds("dict[str, {}]".format, inner),
        st.builds("tuple[{}, ...]".format, inner),
    ),
    max_leaves=4,
)


@given(values, types)
def test_whatever_comes_it_fits_or_is_a_mismatch_and_fitting_twice_changes_nothing(
    value: Any, kind: str
) -> None:
    try:
        once = conform(value, kind)
    except Mismatch:
        return
    assert conform(once, kind) == once


@given(st.integers())
def test_an_integer_is_a_float_and_text_of_it_is_itself(value: int) -> None:
    assert conform(str(value), "int") == value
    assert conform(value, "int | str") == value


@given(st.floats(allow_nan=False))
def test_text_of_a_float_is_that_float(value: float) -> None:
    assert conform(repr(value), "float") == value
