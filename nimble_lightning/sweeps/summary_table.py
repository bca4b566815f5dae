"""A sweep summed up: one line a job."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from omegaconf import DictConfig

from nimble_lightning.ops.exit_codes import STOPPED, ExitCode
from nimble_lightning.run_folder import seen_from_here
from nimble_lightning.sweeps.outcomes import MemberOutcome

# More jobs than these are only counted in a message.
_TOLD = 20


def table(outcomes: Sequence[MemberOutcome]) -> str:
    """Job, what was varied, how it ended, the metric, the time, the folder."""
    varied = _without_common([outcome.overrides for outcome in outcomes])
    rows = [("job", "overrides", "status", "metric", "time", "folder")]
    for outcome, overrides in zip(outcomes, varied, strict=True):
        metric = f"{outcome.metric[0]}={outcome.metric[1]:.6g}" if outcome.metric else "-"
        number = "" if outcome.number is None else str(outcome.number)
        folder = str(seen_from_here(outcome.folder))
        rows.append((number, overrides, outcome.status, metric, f"{outcome.seconds:.1f} s", folder))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines)


def write_page(outcomes: Sequence[MemberOutcome], *, wanted: bool | float | None) -> None:
    """Write the page of the sweep beside its members' folders, and say where it is."""
    if wanted is None or wanted is False:
        return
    # Here, because every command imports this module, and few have a sweep to show.
    from nimble_lightning.report import build_sweep

    try:
        print(seen_from_here(build_sweep(outcomes[0].folder.parent)), flush=True)
    except Exception as error:  # a page is never worth a sweep
        print(f"the page could not be written: {type(error).__name__}: {error}", file=sys.stderr)


def tell(outcomes: Sequence[MemberOutcome], config: DictConfig) -> None:
    """Tell whoever is told of its runs that a sweep is over."""
    from nimble_lightning.runs.notifier import tell_sweep

    counts = Counter(outcome.status for outcome in outcomes)
    text = ", ".join(f"{count} {status}" for status, count in counts.items())
    if len(outcomes) <= _TOLD:
        text += f"\n{table(outcomes)}"
    sweep = outcomes[0].folder.parent
    tell_sweep(sweep, config, name=str(config.name or sweep.parent.name), message=text)


# Which of several codes a sweep exits with.
_FIRST = (*STOPPED, ExitCode.FAILED, ExitCode.REFUSED, ExitCode.CRITERIA_NOT_MET)


def exit_code(outcomes: Sequence[MemberOutcome]) -> int:
    """The signal that stopped a sweep, else 1 if a job failed, 2 if one was refused, 3 if one fell short."""
    codes = {outcome.exit_code for outcome in outcomes}
    return next((code for code in _FIRST if code in codes), ExitCode.FINISHED)


def _without_common(rows: Sequence[Sequence[str]]) -> list[str]:
    """What differs between jobs; everything, when there is only one."""
    common = set.intersection(*map(set, rows)) if len(rows) > 1 else set()
    return [" ".join(word for word in row if word not in common) for row in rows]
