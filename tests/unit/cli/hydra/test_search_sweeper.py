"""Trials go to launchers in batches whose numbers follow each other; studies hear of finite figures alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from nimble_lightning.cli.hydra.search_sweeper import Search, _swept, _together
from nimble_lightning.cli.request_plan import find_source
from nimble_lightning.cli.schema.check_config import takes_whole_numbers
from nimble_lightning.errors import RequestError
from nimble_lightning.sweeps.outcomes import MemberOutcome
from nimble_lightning.sweeps.search_space import Space


def batches(numbers: list[int], most: int) -> list[list[int]]:
    return [[number for number, _ in batch] for batch in _together(((n, []) for n in numbers), most)]


@pytest.mark.parametrize(
    ("numbers", "most", "expected"),
    [
        ([0, 1, 2, 3, 4], 2, [[0, 1], [2, 3], [4]]),
        ([3, 7, 8, 9], 4, [[3], [7, 8, 9]]),
        ([0, 1], 1, [[0], [1]]),
        ([], 3, []),
    ],
)
def test_jobs_are_put_together_by_number(numbers: list[int], most: int, expected: list[list[int]]) -> None:
    assert batches(numbers, most) == expected


def test_nobody_is_asked_for_more_before_a_whole_batch_has_been_run() -> None:
    asked: list[int] = []

    def ask() -> Iterator[tuple[int, list[str]]]:
        for number in range(4):
            asked.append(number)
            yield number, []

    batch = next(_together(ask(), 2))
    assert [number for number, _ in batch] == asked == [0, 1]


@pytest.mark.parametrize(
    ("reached", "code", "told"),
    [
        (0.5, 0, [0.5]),
        # It has a figure, though not the one that its criteria ask for.
        (0.5, 3, [0.5]),
        (math.inf, 0, None),
        (math.nan, 0, None),
        (0.5, 1, None),
    ],
)
def test_a_study_is_told_finite_figures_of_what_is_finished(
    reached: float, code: int, told: list[float] | None, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"metrics": {"cost": reached}}))
    search = Search(objectives={"cost": "minimize"})
    assert search._values(MemberOutcome(0, (), "finished", code, tmp_path)) == told


@pytest.mark.parametrize(
    ("override", "space"),
    [
        ("lr=interval(0.001,0.1)", Space(0.001, 0.1)),
        ("lr=tag(log,interval(0.001,0.1))", Space(0.001, 0.1, log=True)),
        ("hidden=int(interval(8,64))", Space(8, 64, whole=True)),
        ("hidden=tag(log,int,interval(8.0,64.0))", Space(8.0, 64.0, log=True, whole=True)),
        ("kind=near,far", Space(choices=("near", "far"))),
    ],
)
def test_where_to_search_is_as_the_command_line_says(override: str, space: Space) -> None:
    assert _swept(OverridesParser.create().parse_override(override)) == space


def test_an_interval_of_what_takes_whole_numbers_gives_whole_numbers() -> None:
    parsed = OverridesParser.create().parse_override("params.width=interval(8,64)")
    assert _swept(parsed, whole=True) == Space(8, 64, whole=True)
    parsed = OverridesParser.create().parse_override("params.width=interval(8,64.5)")
    with pytest.raises(RequestError, match=r"params.width takes whole numbers, .*64\.5"):
        _swept(parsed, whole=True)


@pytest.mark.parametrize(
    ("key", "whole"),
    [
        ("params.width", True),
        ("params.depth", True),
        ("params.lr", False),
        ("params.name", False),
        ("params.untyped", False),
        ("data.batch_size", True),
        ("data.micro_batch_size", True),
        ("lightning.accumulate_grad_batches", True),
        ("callbacks.early_stopping.patience", True),
        ("callbacks.early_stopping.min_delta", False),
        ("optim.lr", False),
        ("clip.norm", False),
        ("seed", True),
    ],
)
def test_what_takes_whole_numbers_is_known_by_its_type(key: str, whole: bool, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from nimble_lightning import NimbleTrainer\n\nclass Mine(NimbleTrainer):\n"
        "    def pre_process(self, *, width: int = 8, depth: int | None = None, lr: float = 1.0, "
        "name: str = 'a', untyped=3):\n        pass\n    def train(self, batch):\n        pass\n"
    )
    with initialize_config_module("nimble_lightning.conf", version_base="1.3"):
        config = compose("config", ["callbacks=[default,early_stopping]"])
    assert takes_whole_numbers(config, key, find_source(str(file), None).signatures) is whole
