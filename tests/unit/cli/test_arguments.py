"""Command lines are taken apart; what Hydra cannot read is repaired or explained."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nimble_lightning.cli.arguments import candidates, parse, quote, read_override
from nimble_lightning.cli.compose import as_value
from nimble_lightning.errors import RequestError


@pytest.mark.parametrize(
    "spec",
    [
        "my.py",
        "/abs/my-trainer.py",
        "my.py:T",
        "my.py::T",
        "a b.py",
        "~/x.py",
        "a=b.py",
        "(x).py",
        "it's.py",
        "C:\\x.py",
    ],
)
def test_any_file_name_can_be_a_trainer(spec: str) -> None:
    assert parse([f"trainer={spec}"]).values("trainer") == [spec]


def test_options_and_overrides_may_be_mixed() -> None:
    request = parse(["seed=1", "-m", "trainer=x.py", "--config-dir", str(Path.cwd())])
    assert request.multirun
    assert [o.key_or_group for o in request.overrides] == ["seed", "trainer"]
    assert request.argv(["a=1"])[-1] == "a=1"
    assert "--multirun" in request.argv([])


@pytest.mark.parametrize(
    ("typed", "values"),
    [
        ("x=1,2", [1, 2]),
        ("x=range(1,4)", [1, 2, 3]),
        ("x=choice(a,b)", ["a", "b"]),
        ("x='a,b'", ["a,b"]),
        ("x=[1,2]", [[1, 2]]),
        ("x=interval(0,1)", [0.0, 1.0]),
        ("x=null", [None]),
    ],
)
def test_the_values_of_a_sweep_are_known_beforehand(typed: str, values: list[object]) -> None:
    assert candidates(read_override(typed)) == values


def test_an_endless_sweep_is_looked_at_only_so_far() -> None:
    assert 0 < len(candidates(read_override("x=range(100000)"))) < 1000


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("my_trainer.py", "Did you mean trainer=my_trainer.py?"),
        ("seed", "an override is key=value"),
        ("params.x=a(b", "\"params.x='a(b'\""),
        ("params.x=a=b", "\"params.x='a=b'\""),
        ("se ed=1", "cannot be a key"),
    ],
)
def test_an_unreadable_override_is_shown_with_what_works(typed: str, said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        parse([typed])
    assert said in str(refusal.value)


def test_the_place_that_cannot_be_read_is_marked() -> None:
    with pytest.raises(RequestError) as refusal:
        parse(["x=a=b"])
    typed, marker, _ = str(refusal.value).splitlines()
    # The first line is printed after `error: `.
    assert (len("error: ") + typed.index("=b")) == marker.index("^")


@pytest.mark.parametrize("key", ["trainer", "datamodule"])
def test_a_folder_that_would_hide_a_key_is_named(tmp_path: Path, key: str) -> None:
    (tmp_path / key).mkdir()
    for words in (["--config-dir", str(tmp_path)], [f"hydra.searchpath=[file://{tmp_path}]"]):
        with pytest.raises(RequestError, match=f"makes Hydra take {key}="):
            parse([*words, f"{key}=x.py"])


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="-m runs jobs"):
        parse(["-m", "--info"])
    with pytest.raises(RequestError, match="--resolve goes with --cfg"):
        parse(["--resolve"])
    with pytest.raises(RequestError, match="no such folder"):
        parse(["--config-dir", str(tmp_path / "none")])


plain_text = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\$"), max_size=12
)


@given(plain_text)
def test_a_quoted_text_means_exactly_that_text(text: str) -> None:
    assert read_override(f"x={quote(text)}").value() == text


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | plain_text,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.from_regex(r"[a-z_]{1,6}", fullmatch=True), inner)
        ),
        max_leaves=6,
    )
)
def test_any_value_survives_hydras_notation(value: object) -> None:
    assert read_override(f"x={as_value(value)}").value() == value
