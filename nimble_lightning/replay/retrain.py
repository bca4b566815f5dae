"""Verification by doing it again: stretches of a signed run are trained anew and compared to the bit."""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from nimble_lightning.checkpoint.frozen_weights import complete
from nimble_lightning.checkpoint.integrity import open_verified
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.proof.digests import digest_of
from nimble_lightning.proof.environment import file_of, moved, same_class
from nimble_lightning.proof.tensor_differences import first_difference, largest_difference
from nimble_lightning.proof.verification_report import Report
from nimble_lightning.replay.segment_callback import CHECKPOINT, FACTS
from nimble_lightning.run_folder import STEPS, STRETCHES
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.worker.output import printed_to

# Where commits are kept that can be continued from to the bit.
_PLACES = (STEPS, STRETCHES)
# They speak of real runs, to people or to their books.
_SILENT = ("progress", "notification", "gpu_info", "usage_report")
_SAVES = "auto_retry"
_EXACT = "the same, bit for bit"

Train = Callable[[Job], Result]


@dataclass(frozen=True)
class ReplayTerms:
    """How stretches are trained again.

    Attributes:
        count: How many stretches.
        trainer: Where the trainer's file is now; None where it was.
        any_trainer: Whether it may be another than the one that was signed.
        tolerance: How far tensors may lie apart, relative to their size, on hardware of another class.
        params: New values for parameters that say where the data are.
        chance: Chooses the stretches.
    """

    count: int = 1
    trainer: str | None = None
    any_trainer: bool = False
    tolerance: float = 1e-3
    params: Mapping[str, Any] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.SystemRandom)


def replay(folder: Path, report: Report, terms: ReplayTerms, train: Train) -> None:
    """Train stretches of a verified run again; adds what came of it to the report.

    Args:
        folder: Of the run.
        report: On its statement.
        terms: How stretches are trained again.
        train: What runs a job to its end.

    Raises:
        RequestError: The trainer is not there, or not the one that was signed.
    """
    trainer = _trainer(report.claims, terms)
    found = [pair for pair in stretches(report.claims) if (folder / pair[1]["name"]).is_file()]
    if not found:
        raise RequestError(
            "There is nothing to replay: the run keeps no two commits in a row that are one file each."
        )
    if terms.count > len(found):
        report.notes.append(
            f"stretches to replay that the run keeps: {len(found)}, asked for: {terms.count}; "
            "signature.keep_stretches=N keeps more"
        )

    def again(config: dict[str, Any], place: Path) -> str:
        """Train; returns what there is to say where no checkpoint came of it."""
        job = Job.from_config(OmegaConf.create(config), trainer=trainer, folder=place / "run")
        with printed_to(place / "said"):
            result = train(job)
        return _reason(job) or result.message

    for begin, end in terms.chance.sample(found, min(terms.count, len(found))):
        with tempfile.TemporaryDirectory(prefix="nimble-replay-") as place:
            _replay_one(folder, Path(place), (begin, end), again, report, terms)


def stretches(claims: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of commits next to each other, from the chain of a statement."""
    places: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in claims["checkpoints"]:
        parent = str(entry["name"]).rpartition("/")[0]
        if parent.startswith(_PLACES):
            places[parent].append(entry)
    found: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]]] = {}
    for entries in places.values():
        entries.sort(key=lambda entry: entry["step"])
        for begin, end in zip(entries, entries[1:], strict=False):
            if begin["step"] < end["step"]:
                found[begin["step"], end["step"]] = begin, end
    return list(found.values())


def _replay_one(
    folder: Path,
    place: Path,
    pair: tuple[dict[str, Any], dict[str, Any]],
    again: Callable[[dict[str, Any], Path], str],
    report: Report,
    terms: ReplayTerms,
) -> None:
    begin, end = pair
    said = again(_config(report.claims, folder / begin["name"], place, end, terms), place)
    facts, entry = read_json(place / FACTS), {"from": begin["step"], "to": end["step"]}
    if not (place / CHECKPOINT).exists():
        problem, text = True, f"cannot be trained again: {said}"
    else:
        problem, text = _compare(
            (folder / end["name"], end["manifest"]), place / CHECKPOINT, report, facts, terms
        )
    report.replays.append({**entry, "same": not problem, "exact": text == _EXACT, "text": text})
    if problem:
        report.add("replay", end["name"], f"steps {entry['from']} to {entry['to']}: {text}")


def _compare(
    claimed: tuple[Path, str], replayed: Path, report: Report, facts: Mapping[str, Any], terms: ReplayTerms
) -> tuple[bool, str]:
    """Whether something does not hold, and what to say."""
    if facts.get("changed"):
        return True, f"the settings are not those claimed: {facts['changed'][0]}"
    one, other = _load(*claimed), _load(replayed)
    machine = report.claims.get("hardware")
    # A record that says nothing of its machine is given no benefit of the doubt.
    repeats = not machine or same_class(machine, facts.get("hardware") or {})
    difference = first_difference(one, other)
    data = _other_data(report.claims.get("data") or {}, facts.get("data") or {})
    if difference is None:
        return (True, data) if data and repeats else (False, _EXACT)
    if repeats:
        return True, difference + (f"; {data}" if data else "")
    worst, where = largest_difference(one, other)
    text = f"bits do not repeat here ({_why(machine or {}, facts['hardware'])}); {where} is {worst:.2g} apart"
    if worst > terms.tolerance:
        return True, f"{text}, more than the tolerance of {terms.tolerance:g}"
    return False, f"{text}, within the tolerance of {terms.tolerance:g}"


def _why(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if then.get("device") == now.get("device") != "cpu" and not then.get("deterministic"):
        return "a GPU, without lightning.deterministic=true"
    return "hardware or torch of another class"


def _other_data(claimed: Mapping[str, Any], seen: Mapping[str, Any]) -> str:
    """Only tensors have a digest that any honest machine arrives at."""
    for name, mine in claimed.items():
        its = seen.get(name) or {}
        exact = mine.get("kind") == its.get("kind") == "tensors"
        if exact and mine.get("sha256") != its.get("sha256"):
            return f"the {name} data are not those of the run"
    return ""


def _load(path: Path, digest: str | None = None) -> Any:
    """A checkpoint; of the run's own, only what the statement vouches for."""
    import torch

    # The open file, so that what was hashed is what is loaded.
    with open_verified(path) as (file, manifest):
        if digest is not None and manifest.digest != digest:
            raise CheckpointError(f"{path} was changed after it was verified.")
        return complete(torch.load(file, map_location="cpu", weights_only=True), path)


def _reason(job: Job) -> str:
    errors = [read_json(path) for path in sorted(job.folder.errors.glob("attempt-*.json"))]
    told = [f"{e['type']}: {e['message']}" for e in errors if e.get("type") not in (None, "SystemExit")]
    return told[0].partition("\n")[0] if told else ""


def _trainer(claims: Mapping[str, Any], terms: ReplayTerms) -> str:
    """Where the trainer is now; refused if it is not the one that was signed."""
    spec = str(claims["config"]["trainer"])
    if terms.trainer is not None:
        spec = moved(spec, terms.trainer)
    path = file_of(spec)
    if path is None:
        raise RequestError(f"The trainer {spec} is not here; say where it is: --trainer FILE")
    signed = str(((claims.get("code") or {}).get("trainer") or {}).get("sha256") or "")
    if not terms.any_trainer and not signed:
        raise RequestError(
            "The statement does not say which trainer it was: the run was signed only afterwards. "
            "--other-trainer takes this one all the same."
        )
    if not terms.any_trainer and digest_of(path).sha256 != signed:
        raise RequestError(
            f"{path} is not the file that was signed (sha256 {signed[:16]}...); "
            "give the right one, or --other-trainer to see what this one does."
        )
    return spec


def _config(
    claims: Mapping[str, Any], begin: Path, place: Path, end: Mapping[str, Any], terms: ReplayTerms
) -> dict[str, Any]:
    """The run's own configuration, less all that only watches, and with an end."""
    config: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(dict(claims["config"])))  # type: ignore[assignment]
    hardware = claims.get("hardware") or {}
    lightning = {**(config.get("lightning") or {}), "enable_progress_bar": False}
    if hardware.get("device") in ("cpu", "cuda"):
        lightning["accelerator"], lightning["devices"] = hardware["device"], hardware.get("world_size", 1)
    stretch = {
        "_target_": "nimble_lightning.replay.segment_callback.SegmentEnd",
        "folder": str(place),
        "until": end["step"],
        "threads": end["threads"],
    }
    # In the place of what saved in the run: callbacks before and after it may change what is saved.
    given = {k: v for k, v in (config.get("callbacks") or {}).items() if k not in _SILENT}
    blocks = {**given, _SAVES: stretch}
    # By another name: it is no setting of the supervisor's, and nothing is retried.
    callbacks = {"replay" if name == _SAVES else name: block for name, block in blocks.items()}
    config.update(
        lightning=lightning,
        callbacks=callbacks,
        params={**(config.get("params") or {}), **terms.params},
        logger={},
        signature={},
        validator=None,
        launch={"name": "local"},
        resume=str(begin),
    )
    return config


def of_words(words: Sequence[str]) -> dict[str, Any]:
    """Parameters as they are typed: `params.NAME=VALUE`."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.startswith("params.") or len(name) == len("params."):
            raise RequestError(f"{word}: expected params.NAME=VALUE, to say where the data are now.")
        found[name.removeprefix("params.")] = OmegaConf.from_dotlist([f"value={value}"]).value
    return found
