"""A parameter gets the type its annotation says."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from nimble_lightning.adapters.user_trainer import as_annotated
from nimble_lightning.errors import RequestError


class Kind(enum.Enum):
    SMALL = "s"
    LARGE = "l"


def method(
    self: Any,
    kind: Kind,
    where: Path,
    maybe: Optional[Path],  # noqa: UP045
    pair: tuple[int, int],
    mode: Literal["a", "b"],
    either: int | str,
    free=1,  # type: ignore[no-untyped-def]
) -> None: ...


@pytest.mark.parametrize(
    ("name", "given", "got"),
    [
        ("kind", "LARGE", Kind.LARGE),
        ("kind", "s", Kind.SMALL),
        ("kind", Kind.SMALL, Kind.SMALL),
        ("where", "a/b", Path("a/b")),
        ("maybe", "a", Path("a")),
        ("maybe", None, None),
        ("pair", [1, 2], (1, 2)),
        ("mode", "a", "a"),
        ("either", "3", "3"),
        ("free", [1], [1]),
        ("unknown", "x", "x"),
    ],
)
def test_values_become_what_is_annotated(name: str, given: Any, got: Any) -> None:
    assert as_annotated(method, {name: given}) == {name: got}


def test_no_member_of_an_enum_is_refused_with_the_members() -> None:
    with pytest.raises(RequestError, match="params.kind='HUGE'.*SMALL, LARGE"):
        as_annotated(method, {"kind": "HUGE"})


def test_annotations_that_cannot_be_looked_up_change_nothing() -> None:
    def odd(x: NotImported) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert as_annotated(odd, {"x": "1"}) == {"x": "1"}
