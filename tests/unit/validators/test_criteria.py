"""Criteria are read as they are written, and nothing else is."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nimble_lightning.errors import RequestError
from nimble_lightning.validators.criteria import Criteria

METRICS = {"accuracy": 0.97, "val_loss": 0.1, "val/acc": 0.5, "top-1 acc": 0.9, "bad": math.nan}
BEST = {"baseline": 0.2, "bert-tiny": 0.1, "outputs/a b": 0.3}


def judged(text: str | list[str]) -> tuple[bool, list[bool]]:
    passed, checks = Criteria(text).judge(METRICS, lambda reference, metric: BEST[reference])
    return passed, [check.passed for check in checks]


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("accuracy >= 0.95", True),
        ("accuracy > 97 %", False),
        ("accuracy >= 97 %", True),
        ("accuracy>=.97", True),
        ("val_loss < 1e-1", False),
        ("val_loss <= 1e-1", True),
        ("val/acc == 50%", True),
        ("val_loss / 2 < 0.06", True),
        ('"top-1 acc" != 0.9', False),
        ("`top-1 acc` >= 'top-1 acc'", True),
        ("1 - accuracy < val_loss", True),
        ("-val_loss > -1", True),
        ("accuracy - 0.5 - 0.4 > 0", True),
        ("8 / 4 / 2 == 1", True),
        ("2 + 3 * 4 == 14", True),
        ("(2 + 3) * 4 == 20", True),
        ("(accuracy >= 0.95)", True),
        ("accuracy > 1 or val_loss < 1 and accuracy > 0.9", True),
        ("(accuracy > 1 or val_loss < 1) and accuracy > 0.99", False),
        ("accuracy > 1 or val_loss < 1, accuracy > 0.99", False),
        ("bad < 1", False),
        ("bad != 1", False),
        ("bad < 1 or accuracy > 0.9", True),
        ("accuracy / 0 > 1", False),
        ("unknown > 0", False),
    ],
)
def test_a_criterion_means_what_it_says(text: str, passed: bool) -> None:
    assert judged(text)[0] is passed


@pytest.mark.parametrize(
    ("text", "passed", "limit"),
    [
        ("val_loss < best_of(baseline) * 0.98", True, 0.2 * 0.98),
        ("val_loss < best_of(baseline, bert-tiny)", False, 0.1),
        ("accuracy > best_of(baseline, bert-tiny, 'outputs/a b')", True, 0.3),
        ("best_of( baseline , bert-tiny ) > val_loss", False, 0.1),
        ("best_of(baseline, bert-tiny) < accuracy", True, 0.97),
    ],
)
def test_the_best_of_references_is_best_in_the_direction_of_the_sign(
    text: str, passed: bool, limit: float
) -> None:
    held, (check,) = Criteria(text).judge(METRICS, lambda reference, metric: BEST[reference])
    assert held is passed
    if text.startswith("best"):
        assert check.value == pytest.approx(min(0.2, 0.1) if "val_loss" in text else max(0.2, 0.1))
    else:
        assert check.limit == pytest.approx(limit)


def test_a_list_holds_when_all_of_it_does_and_every_comparison_is_told() -> None:
    assert judged(["accuracy > 0.9", "val_loss < 0.05 or val_loss < 0.5"]) == (True, [True, False, True])
    assert judged(["accuracy > 0.9", "val_loss < 0.05"]) == (False, [True, False])
    criteria = Criteria(["a > b and a > best_of(x, y)", "c < best_of(x)"])
    assert (criteria.metrics, criteria.references) == (("a", "b", "c"), ("x", "y"))


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", "its end", "a number or the name of a metric"),
        ("accuracy", "its end", "one of >= <="),
        ("accuracy >== 0.95", "column 12", "a number or the name of a metric"),
        ("accuracy = 0.95", "column 10", "one of >= <="),
        ("accuracy >= ", "its end", "a number or the name of a metric"),
        ("accuracy >= 0.95 val_loss < 1", "column 18", "and, or, or a comma"),
        ("(accuracy > 1", "its end", "expected )"),
        ("accuracy > 1)", "column 13", "and, or, or a comma"),
        ("(accuracy > 1) + 2 > 1", "column 1", "not a comparison"),
        ("0.1 < accuracy < 0.2", "column 16", "one comparison at a time"),
        ("accuracy > 1 and", "its end", "a number or the name of a metric"),
        ("accuracy > 1 and or b > 1", "column 18", "a number or the name of a metric"),
        ("__import__('os') > 1", "column 11", "one of >= <="),
        ("accuracy > 1; b > 2", "column 13", "and, or, or a comma"),
        ("best_of() > accuracy", "column 1", "references in parentheses"),
        ("accuracy > best_of(a", "column 12", "references in parentheses"),
        ("best_of(a) > best_of(b)", "column 1", "one metric on the other side"),
        ("best_of(a) == accuracy", "column 1", "one metric on the other side"),
        ("best_of(a) > 1", "column 1", "one metric on the other side"),
        ("(" * 100 + "1", "column 41", "no more than 40 levels"),
        ("-" * 100 + "1", "column 41", "no more than 40 levels"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(text: str, place: str, expected: str) -> None:
    with pytest.raises(RequestError) as refused:
        Criteria(text)
    assert place in str(refused.value)
    assert expected in str(refused.value)
    assert str(refused.value).count("\n") <= 1


def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(RequestError, match="at most 800 characters"):
        Criteria("+".join(["1"] * 100_000))


def test_the_sentence_tells_what_was_met_or_missed_and_by_how_much() -> None:
    def sentence(text: str) -> str:
        criteria = Criteria(text)
        return criteria.sentence(*criteria.judge(METRICS, lambda *_: 0.2), METRICS)

    assert sentence("accuracy >= 95 %") == "met accuracy >= 95 % (0.97)"
    assert sentence("accuracy >= 99 %, val_loss < 1") == "missed accuracy >= 99 % (0.97)"
    assert sentence("val_loss < best_of(baseline) * 0.4") == (
        "missed val_loss < best_of(baseline) * 0.4 (0.1 against 0.08)"
    )
    assert sentence("acuracy > 0.5") == "cannot be judged: There is no metric acuracy; did you mean accuracy?"
    assert sentence("acuracy > 0.5 or accuracy > 0.5") == "met accuracy > 0.5 (0.97)"
    assert sentence(", ".join(["accuracy > 0"] * 5)).endswith("and 2 more")


# --- any criterion -----------------------------------------------------------------------------------------

NAMES = st.sampled_from(["accuracy", "val_loss", "val/acc", '"top-1 acc"'])
NUMBERS = st.floats(0, 1e6, allow_nan=False).map(lambda value: f"{value:.6g}")


def joined(signs: list[str], inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(lambda left, sign, right: f"{left} {sign} {right}", inner, st.sampled_from(signs), inner)


FORMULAS = st.recursive(
    st.one_of(NAMES, NUMBERS),
    lambda inner: st.one_of(
        joined(["+", "-", "*", "/"], inner),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
    ),
    max_leaves=6,
)
COMPARISONS = joined([">=", "<=", ">", "<", "==", "!="], FORMULAS)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(joined(["and", "or"], inner), inner.map(lambda text: f"({text})")),
    max_leaves=4,
)


def as_python(text: str) -> bool:
    """The same criterion by Python's own rules; a division by zero holds nothing."""
    for name in ('"top-1 acc"', "val/acc", "val_loss", "accuracy"):
        text = text.replace(name, f" M({METRICS[name.strip(chr(34))]}) ")
    return bool(eval(text.replace(" M(", " float("), {"float": float}))


@settings(deadline=None)
@given(CONDITIONS)
def test_any_criterion_is_judged_as_python_would(text: str) -> None:
    try:
        expected = as_python(text)
    except (ZeroDivisionError, OverflowError):
        return
    assert judged(text)[0] is expected


@settings(deadline=None)
@given(st.text(alphabet="ab1.%()<>=!+-*/,'\"` _andorbest_of\n", max_size=60))
def test_any_text_is_read_or_refused_within_it(text: str) -> None:
    try:
        criteria = Criteria(text)
    except RequestError as refused:
        message = str(refused)
        assert "cannot be read at" in message
        if "column" in message:
            column = int(message.split("at column ")[1].split(",")[0])
            assert 1 <= column <= len(text)
        return
    passed, checks = criteria.judge({}, lambda *_: math.nan)
    assert checks
    assert isinstance(passed, bool)
