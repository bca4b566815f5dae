"""How the jobs of a sweep ended: each leaves a file in its folder, whichever launcher ran it and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class MemberOutcome:
    """How one job ended, for the exit code and the summary of a sweep."""

    number: int | None
    overrides: tuple[str, ...]
    status: str
    exit_code: int
    folder: Path
    metric: tuple[str, float] | None = None
    seconds: float = 0.0
    message: str = ""
    figures: tuple[tuple[str, float], ...] = ()


def keep(outcome: MemberOutcome) -> None:
    """Leave an outcome in its job's folder, unless it is about a run that is not the one there."""
    from nimble_lightning.ops.run_files import write_json
    from nimble_lightning.run_folder import RunFolder

    if outcome.status == "refused" and RunFolder(outcome.folder).run.exists():
        return
    outcome.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = asdict(outcome)
    del content["folder"]
    write_json(RunFolder(outcome.folder).member, content)


def kept(folder: Path) -> MemberOutcome | None:
    """The outcome of the job in a folder; None where there is none."""
    from nimble_lightning.ops.run_files import read_json
    from nimble_lightning.run_folder import RunFolder

    content = read_json(RunFolder(folder).member)
    return _outcome(folder, content) if content else None


def all_kept(sweep: Path) -> list[MemberOutcome]:
    """Those of all jobs of a sweep, in their order, those of earlier starts among them."""
    found = [outcome for folder in sweep.glob("*/") if (outcome := kept(folder)) is not None]
    return sorted(found, key=lambda outcome: (outcome.number or 0, outcome.folder.name))


def told(outcome: MemberOutcome) -> str:
    """How a job ended, on one line."""
    where = f"Job {outcome.number}: " if outcome.number is not None else ""
    figures = "".join(f"  {name}={value:.6g}" for name, value in outcome.figures)
    if outcome.status == "refused":
        return f"{where}error: {outcome.message}"
    return f"{where}{outcome.message or outcome.status}{figures}  {outcome.folder}"


def _outcome(folder: Path, content: Mapping[str, Any]) -> MemberOutcome:
    metric = content["metric"]
    return MemberOutcome(
        **{
            **content,
            "folder": folder,
            "overrides": tuple(content["overrides"]),
            "metric": metric and (str(metric[0]), float(metric[1])),
            "figures": tuple((str(name), float(value)) for name, value in content["figures"]),
        }
    )
