"""`nimble-cli usage DIR...`: what runs and sweeps took, added up."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from nimble_lightning.cli.suggestions import nearest
from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.untrusted_text import cut, printable
from nimble_lightning.run_folder import JOB, USAGE
from nimble_lightning.usage import account, webhook
from nimble_lightning.usage.account_table import duration, large, mass, money, power
from nimble_lightning.usage.group_runs import GROUPS, Sum, summed

_MOST_NAME = 200
_HEADINGS = ("runs", "wall", "devices", "samples", "tokens", "energy", "cost", "CO2e")


@dataclass
class UsageRequest:
    """What was asked.

    Attributes:
        places: Folders of runs or of many, or usage.json files.
        by: What to group by; None for one sum.
        form: "table", "json" or "csv".
        send: Whether to report each account, to `address`.
        trust: Whether without one to where the run's own folder says, with the variables it refers to.
    """

    places: list[Path] = field(default_factory=list)
    by: str | None = None
    form: str = "table"
    send: bool = False
    address: str | None = None
    trust: bool = False


def main(words: Sequence[str]) -> int:
    """Sum up; returns the exit code."""
    request = parse(list(words))
    found = list(account.find_accounts(request.places))
    if not found:
        raise RequestError(
            f"There is no {USAGE} in {', '.join(map(str, request.places))}. Runs with "
            "callbacks.usage_report=true (--report_usage) leave one."
        )
    if request.send:
        return _send(found, request)
    sound = []
    for path, usage in found:
        if _is_sound(usage, request.by):
            sound.append(usage)
        else:
            print(printable(f"left out: {path} is no account that a run wrote"), file=sys.stderr)
    sums = summed(sound, request.by)
    print(printable({"table": _table, "json": _json, "csv": _csv}[request.form](sums)))
    return 0 if sound else 1


def parse(words: list[str]) -> UsageRequest:
    """Read the command line.

    Raises:
        RequestError: It cannot be read, or names what is not there.
    """
    parser = Parser("usage", "Total device hours, energy and cost of runs.")
    parser.add_argument("places", metavar="DIR", nargs="+", type=_existing, help="of runs, or of many")
    parser.add_argument("--by", type=_group, metavar="|".join(GROUPS), help="one line for each")
    form = parser.add_mutually_exclusive_group()
    for name, purpose in (("json", "for programs"), ("csv", "for tables")):
        form.add_argument(
            f"--{name}", action="store_const", dest="form", const=name, default="table", help=purpose
        )
    parser.add_argument(
        "--send",
        nargs="?",
        const="",
        metavar="URL",
        help="report each account there",
    )
    parser.add_argument(
        "--trust", action="store_true", help="without a URL: to where the run's own folder says"
    )
    # What follows belongs to it only if it is an address.
    plain = [
        "--send=" if word == "--send" and "://" not in following else word
        for word, following in zip_longest(words, words[1:], fillvalue="")
    ]
    asked = parser.read(plain)
    return UsageRequest(
        asked.places, asked.by, asked.form, asked.send is not None, asked.send or None, asked.trust
    )


def _group(asked: str) -> str:
    if asked not in GROUPS:
        near = nearest(asked, list(GROUPS))
        raise RequestError(
            f"--by {asked}: {f'did you mean {near}?' if near else f'there are {chr(44).join(GROUPS)}'}"
        )
    return asked


def _existing(word: str) -> Path:
    path = Path(word)
    if not path.exists():
        raise RequestError(f"{word} does not exist. Give the folder of a run, or one that holds several.")
    return path


def _is_sound(usage: Mapping[str, Any], by: str | None) -> bool:
    """Whether an account can be added to others; a file that no run has written may hold anything."""
    try:
        (one,) = summed([usage], by)
        _row(one)
        spent = (one.wall_seconds, one.device_seconds, one.tokens, one.energy_kwh, one.co2e_kg)
        return all(map(math.isfinite, (*spent, *one.cost.values())))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return False


def _table(sums: Sequence[Sum]) -> str:
    rows = [("", *_HEADINGS), *map(_row, sums)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    )
    partly = any(one.unknown for one in sums)
    note = (
        ["* some runs do not know this figure"]
        if partly and any("*" in text for r in rows for text in r)
        else []
    )
    return "\n".join([*lines, *note])


def _row(one: Sum) -> tuple[str, ...]:
    def known(name: str, text: str) -> str:
        """Nothing is shown for what no run knows, and a star beside what some do not."""
        if name not in one.unknown:
            return text
        return f"{text}*" if getattr(one, name) else "-"

    cost = " + ".join(money(amount, currency or None) for currency, amount in one.cost.items())
    return (
        cut(one.group, _MOST_NAME),
        str(one.runs),
        duration(one.wall_seconds),
        duration(one.device_seconds),
        f"{one.samples:,}",
        known("tokens", large(one.tokens)),
        known("energy_kwh", power(one.energy_kwh)),
        known("cost", cost),
        known("co2e_kg", mass(one.co2e_kg)),
    )


def _json(sums: Sequence[Sum]) -> str:
    return json.dumps([_plain(one) for one in sums], indent=2)


def _csv(sums: Sequence[Sum]) -> str:
    """One line for each group and currency, so that every column is a number."""
    buffer = io.StringIO()
    names = [name for name in asdict(Sum("")) if name not in ("cost", "unknown")]
    writer = csv.DictWriter(buffer, [*names, "cost", "currency", "unknown"], lineterminator="\n")
    writer.writeheader()
    for one in sums:
        row = {name: value for name, value in asdict(one).items() if name in names}
        for currency, amount in one.cost.items() or {("", None)}:
            writer.writerow(
                {**row, "cost": amount, "currency": currency, "unknown": " ".join(sorted(one.unknown))}
            )
    return buffer.getvalue().rstrip("\n")


def _plain(one: Sum) -> dict[str, Any]:
    return {**asdict(one), "unknown": sorted(one.unknown)}


def _send(found: Sequence[tuple[Path, Mapping[str, Any]]], request: UsageRequest) -> int:
    failed = 0
    if request.address is None and not request.trust:
        raise RequestError(
            "Where to? --send https://... names an address; --send --trust takes the one in each run's "
            f"{JOB}, with the variables it refers to."
        )
    for path, usage in found:
        where = request.address or _address_of(path.parent)
        if where is None:
            raise RequestError(f"{path} was to be reported nowhere. Name an address: --send https://...")
        webhook.check(where)
        why = webhook.post(where, usage, seconds=30.0)
        print(printable(f"{path}: {why or 'sent'}"))
        failed += why is not None
    return 1 if failed else 0


def _address_of(folder: Path) -> str | None:
    """Where the run's own configuration sends it."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    job = folder / JOB
    if not job.exists():
        return None
    try:
        found = OmegaConf.select(OmegaConf.load(job), "callbacks.usage_report.report_to")
    except OmegaConfBaseException as error:
        raise RequestError(f"report_to of {folder}: {str(error).splitlines()[0]}") from None
    return None if found is None else str(found)
