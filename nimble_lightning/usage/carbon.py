"""Grams of CO2e for a kilowatt-hour: the user's number, or a country's yearly average with its source."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from nimble_lightning.errors import RequestError


@dataclass(frozen=True)
class ElectricityGrid:
    """Where electricity comes from.

    Attributes:
        grams: CO2e for a kilowatt-hour, over the life cycle.
        code: Three letters of the country; empty for the user's own number.
        country: Its name.
        note: Where the number is from.
    """

    grams: float
    code: str = ""
    country: str = ""
    note: str = ""


def grid_of(asked: float | str | None) -> ElectricityGrid | None:
    """The grid for a number or a country code of two or three letters; None for None.

    Raises:
        RequestError: Neither a number nor a country of the table.
    """
    if asked is None:
        return None
    try:
        grams = float(asked)
    except ValueError:
        return _country(str(asked))
    if not grams >= 0:
        raise RequestError(f"grid={asked!r}: expected grams of CO2e for a kilowatt-hour, 0 or more.")
    return ElectricityGrid(grams, note=f"{grams:g} g/kWh as given")


def _country(asked: str) -> ElectricityGrid:
    code = asked.strip().upper()
    found = _table().get(code)
    if found is None:
        known = ", ".join(sorted(code for code in _table() if len(code) == 2))
        raise RequestError(
            f"grid={asked!r}: there is no such country in the table. Give grams of CO2e for a kilowatt-hour "
            f"(grid=350), or one of {known}, WLD."
        )
    return found


@cache
def _table() -> dict[str, ElectricityGrid]:
    """Each country by its code of three letters and by that of two."""
    with files(__package__).joinpath("grid.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    grids = {row["code"]: _grid(row) for row in rows}
    return grids | {row["short"]: grids[row["code"]] for row in rows if row["short"]}


def _grid(row: dict[str, str]) -> ElectricityGrid:
    note = f"{row['g_per_kwh']} g/kWh, mean of {row['country']} in {row['year']}, {row['source']}"
    return ElectricityGrid(float(row["g_per_kwh"]), row["code"], row["country"], note)
