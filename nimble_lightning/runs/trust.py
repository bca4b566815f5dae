"""What a run folder may make this process do: a folder is data until somebody vouches for it.

Code that it names is run, and `${...}` in it resolved, when its signature holds for a key that was given, or
when the user says so. A file that the user names is run as well, with the plain parameters of the folder.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.adapters.load_trainer import load
from nimble_lightning.errors import CheckpointError, RequestError
from nimble_lightning.ops import yaml_files
from nimble_lightning.planning.custom_sharding import sharding_noted
from nimble_lightning.proof.digests import digest_of
from nimble_lightning.proof.environment import file_of, moved
from nimble_lightning.proof.verification import verify
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import RunSettings


@dataclass(frozen=True)
class TrustTerms:
    """Who vouches for a folder.

    Attributes:
        key: The public half of the key that has to have signed it: a path, or `env:NAME`.
        trainer: Where the trainer is, in the user's words.
        trust: Whether the user does: it is his own, or of somebody whose programs he would run.
        how: What to type to say so.
    """

    key: str | None = None
    trainer: str | None = None
    trust: bool = False
    how: str = "trainer=FILE to run a file of yours, key=PUB if it is signed, trust=True if it is your own"


@dataclass(frozen=True)
class Vouched:
    """A run folder whose trainer may be run.

    Attributes:
        job: What was asked, as far as it is vouched for.
        settings: The same with its references resolved.
        target: The trainer.
        claims: What was signed; empty where no key was given.
        whole: Whether all of the folder is vouched for, or just the trainer named.
    """

    job: Job
    settings: RunSettings
    target: Any
    claims: Mapping[str, Any]
    whole: bool


def vouched(folder: Path, terms: TrustTerms) -> Vouched:
    """The job of a run folder, once somebody vouches for it.

    Raises:
        CheckpointError: It is not what was signed.
        RequestError: Nobody does, or the trainer is not here.
    """
    claims = {} if terms.key is None else _signed(folder, terms.key)
    job = Job.load(folder)
    asked = job.unresolved()
    spec, whole = str(asked.get("trainer")), bool(claims) or terms.trust
    if terms.trainer is not None:
        spec = moved(spec, terms.trainer)
    elif not whole:
        raise RequestError(f"{folder} would have {spec} run, and nobody vouches for it. Say: {terms.how}.")
    if not whole:
        asked = _plain(folder, asked, terms)
    job = replace(job, config=OmegaConf.create({**asked, "trainer": spec}))
    return Vouched(job, _settings(job), _trainer(spec, claims, terms), claims, whole)


def _settings(job: Job) -> RunSettings:
    """What was asked of a trusted job.

    Raises:
        RequestError: A variable that it refers to is not set.
    """
    try:
        return job.settings
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0].rpartition(": ")[2].strip('"')
        raise RequestError(f"{job.folder.job}: {reason}. Set it.") from None


def _signed(folder: Path, key: str) -> Mapping[str, Any]:
    report = verify(folder, key)
    if not report.verified:
        raise CheckpointError(f"{folder} is not what was signed: {'; '.join(map(str, report.problems[:3]))}")
    return report.claims


def _plain(folder: Path, raw: Mapping[str, Any], terms: TrustTerms) -> dict[str, Any]:
    """What may be given to a trainer of the user's: values, not what they could stand for."""
    params = raw.get("params") or {}
    if not isinstance(params, dict) or (more := yaml_files.first_of_more(params, "params")) is not None:
        what = more if isinstance(params, dict) else "params"
        raise RequestError(
            f"{what} of {folder} is no plain value but stands for something here, and nobody vouches for the "
            f"folder. Say: {terms.how}."
        )
    seed, name = raw.get("seed"), str(raw.get("name"))
    plain_name = folder.parent.name if "${" in name else name
    return {"params": params, "seed": seed if type(seed) is int else 0, "name": plain_name}


def _trainer(spec: str, claims: Mapping[str, Any], terms: TrustTerms) -> Any:
    file = file_of(spec)
    if file is None:
        raise RequestError(f"The trainer {spec} is not here; say where it is: {terms.how.partition(' ')[0]}")
    signed = ((claims.get("code") or {}).get("trainer") or {}).get("sha256")
    if signed is not None and digest_of(file).sha256 != signed:
        raise CheckpointError(f"{file} is not the trainer that was signed; give that one.")
    # It keeps what it imports, and its model is to be built whole.
    with sharding_noted():
        found = load(spec)
    chosen = (terms.trainer or "").endswith(".py")
    if chosen and inspect.isfunction(found) and Path(inspect.getfile(found)) != file:
        # Something that the file only imports, by a name that the folder has chosen.
        raise RequestError(f"{spec} is a function of {found.__module__}; expected one of {file}.")
    return found
