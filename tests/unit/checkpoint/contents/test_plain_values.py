from __future__ import annotations

import enum
import io
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nimble_lightning.checkpoint.contents.plain_values import ValueReader, ValueWriter
from nimble_lightning.checkpoint.contents.value_kinds import Unsavable


class Colour(enum.Enum):
    RED = "red"


Point = namedtuple("Point", "x y")  # noqa: PYI024

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(KEYS, inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
        | st.lists(inner).map(lambda items: deque(items, maxlen=7))
        | st.dictionaries(KEYS, inner).map(OrderedDict)
        | st.dictionaries(KEYS, inner).map(lambda items: defaultdict(list, items))
    ),
    max_leaves=20,
)


def through_a_checkpoint(value: Any) -> Any:
    writer, file = ValueWriter(), io.BytesIO()
    written = writer.write(value)
    torch.save([written, writer.new], file)
    file.seek(0)
    written, new = torch.load(file, weights_only=True)
    return ValueReader(new, {}.__getitem__).read(written)


def types_in(value: Any) -> Any:
    if isinstance(value, dict):
        return type(value), [(types_in(key), types_in(item)) for key, item in value.items()]
    if isinstance(value, list | tuple | deque):
        return type(value), [types_in(item) for item in value]
    return type(value)


@given(NESTED)
@settings(max_examples=60, deadline=None)
def test_nested_plain_values_are_read_as_they_were(value: Any) -> None:
    read = through_a_checkpoint(value)
    assert read == value
    assert types_in(read) == types_in(value)


@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Point(1, [2]),
        Path("a/b"),
        datetime(2026, 1, 2, tzinfo=UTC),
        date(2026, 1, 2),
        time(3, 4),
        timedelta(1.5),
        Decimal("1.10"),
        Counter("aab"),
        range(1, 9, 2),
        slice(None, 3),
        bytearray(b"ab"),
        np.float32(0.1),
        np.datetime64("2026-01-02"),
        torch.float16,
        2**200,
        math.inf,
    ],
)
def test_each_kind_of_value_is_read_as_it_was(value: Any) -> None:
    read = through_a_checkpoint(value)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.zeros((0, 3), np.uint16),
        np.array(3, np.int8),
        np.array(["a", "bcd"]),
        np.array([1 + 2j], np.complex64),
        np.array([True]),
    ],
)
def test_arrays_of_any_plain_type_and_shape(array: np.ndarray) -> None:
    read = through_a_checkpoint(array)
    np.testing.assert_array_equal(read, array)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.flags.writeable


def test_a_view_of_a_large_tensor_costs_what_it_shows() -> None:
    writer, file = ValueWriter(), io.BytesIO()
    writer.write(torch.zeros(1_000_000)[:3])
    torch.save(writer.new, file)
    assert len(file.getvalue()) < 10_000


def test_what_is_the_same_is_the_same_afterwards_and_may_hold_itself() -> None:
    inner: list[Any] = [1]
    value: dict[str, Any] = {"a": inner, "b": inner, "t": (inner,)}
    value["self"] = value
    read = through_a_checkpoint(value)
    assert read["a"] is read["b"] is read["t"][0]
    assert read["self"] is read


@pytest.mark.parametrize(
    "generator",
    [
        *(np.random.Generator(kind(3)) for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox)),
        *(np.random.Generator(kind(3)) for kind in (np.random.SFC64, np.random.PCG64DXSM)),
        np.random.RandomState(3),
        __import__("random").Random(3),
    ],
)
def test_generators_go_on(generator: Any) -> None:
    draw = getattr(generator, "standard_normal", None) or generator.gauss
    draw(), draw(), draw()
    read = through_a_checkpoint(generator)
    again = getattr(read, "standard_normal", None) or read.gauss
    assert [again() for _ in range(5)] == [draw() for _ in range(5)]


def test_a_generator_of_torch_goes_on() -> None:
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    read = through_a_checkpoint(generator)
    assert torch.rand(5, generator=read).equal(torch.rand(5, generator=generator))


class Foo:
    pass


class Local:
    Inner = namedtuple("Elsewhere", "x")  # noqa: PYI024


@pytest.mark.parametrize(
    "value", [Foo(), [Foo()], {"a": (1, Foo())}, np.array([Foo()]), iter([]), Local.Inner(1), print, Foo]
)
def test_what_no_plain_value_stands_for_is_refused(value: Any) -> None:
    with pytest.raises(Unsavable):
        ValueWriter().write(value)


def test_a_checkpoint_names_no_class_but_tuples_and_enums() -> None:
    for written in (["enum", "subprocess:Popen", "x"], ["named", "os:system", []]):
        with pytest.raises(LookupError):
            ValueReader([], {}.__getitem__).read(written)


def test_a_secret_is_not_written() -> None:
    with pytest.raises(Unsavable, match="secret"):
        ValueWriter(secrets={"hunter2"}).write({"a": ["the hunter2"]})
