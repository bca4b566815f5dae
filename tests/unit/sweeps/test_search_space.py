"""Where to search, as a trainer's file or the configuration says it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from nimble_lightning import param
from nimble_lightning.cli.schema.parameters import Parameter, of_function
from nimble_lightning.cli.schema.source_code import SourceFile
from nimble_lightning.errors import RequestError
from nimble_lightning.sweeps.search_space import Space, make_space


class Proposes:
    """Stands in for a trial: remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, kind: str) -> Any:
        return lambda *args, **more: self.asked.append((kind, *args, more))


def written(default: str, annotation: str = "float") -> Parameter:
    tree = ast.parse(f"def pre_process(self, *, x: {annotation} = {default}): ...")
    signature = of_function(tree.body[0], SourceFile(Path("my.py"), tree))  # type: ignore[arg-type]
    return signature.parameters["x"]


def test_param_is_its_default_where_nobody_searches() -> None:
    assert param(1e-3, low=1e-5, high=1e-1, log=True) == 1e-3


@pytest.mark.parametrize("name", ["param", "nl.param", "nimble_lightning.param"])
def test_a_space_is_read_from_the_file(name: str) -> None:
    parameter = written(f"{name}(1e-3, low=1e-5, high=1e-1, log=True)")
    assert parameter.value() == 1e-3
    assert parameter.space == Space(low=1e-5, high=1e-1, log=True)
    assert parameter.text == "x: float = 0.001"
    assert parameter.doc == "search 1e-05 to 0.1 (log)"


def test_whole_numbers_are_searched_as_such() -> None:
    parameter = written("param(8, low=4, high=64)", "int")
    trial = Proposes()
    assert parameter.space is not None
    parameter.space.suggest(trial, "x")
    assert trial.asked == [("suggest_int", "x", 4, 64, {"log": False})]


def test_choices_and_steps_are_proposed_as_they_are() -> None:
    trial = Proposes()
    make_space("a", {"choices": ["adam", "sgd"]}).suggest(trial, "a")
    make_space("b", {"low": 0.0, "high": 1.0, "step": 0.25}).suggest(trial, "b")
    assert trial.asked == [
        ("suggest_categorical", "a", ("adam", "sgd"), {}),
        ("suggest_float", "b", 0.0, 1.0, {"log": False, "step": 0.25}),
    ]


def test_any_other_call_is_no_space() -> None:
    assert written("float(1)").space is None


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"choices": [1, 2]}, [1, 2]),
        ({"low": 1, "high": 4, "whole": True}, [1, 2, 3, 4]),
        ({"low": 0.0, "high": 0.3, "step": 0.1}, pytest.approx([0.0, 0.1, 0.2, 0.3])),
        ({"low": 0.0, "high": 1.0}, []),
    ],
)
def test_what_can_be_counted_makes_a_grid(given: dict[str, Any], expected: Any) -> None:
    assert make_space("x", given).grid == expected


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"low": 1.0}, "needs low and high"),
        ({"low": 2.0, "high": 1.0}, "low the smaller one"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low has to be above 0"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "there is no step"),
        ({"choices": []}, "at least one"),
        ({"choices": [1], "low": 0.0}, "expected choices"),
        ({"min": 1.0}, "has no min; there are low"),
    ],
)
def test_what_makes_no_space_is_refused_with_its_name(given: dict[str, Any], text: str) -> None:
    with pytest.raises(RequestError, match=f"space of x.*{text}"):
        make_space("x", given)


def test_limits_that_only_running_the_file_could_tell_are_refused() -> None:
    with pytest.raises(RequestError, match="param.. of x: limits have to be written out"):
        written("param(1.0, low=LOWEST, high=2.0)")
