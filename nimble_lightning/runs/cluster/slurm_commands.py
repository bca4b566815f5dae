"""Slurm's own commands, and what their answers mean."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from nimble_lightning.errors import RequestError

# A controller that is busy answers late; one that is gone never does.
_PATIENCE = 30.0


def sbatch(script: Path) -> str:
    """Hand in a script; returns the number of the job.

    Raises:
        RequestError: There is no Slurm here, or it does not take the job.
    """
    # Of an allocation this command may itself be in, nothing is meant for the new one.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SLURM_") or name == "SLURM_CONF"
    }
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(script)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=_PATIENCE,
        )
    except FileNotFoundError:
        raise RequestError(
            "launch=slurm needs the command sbatch, which is not here\n"
            "Type this on a login node of the cluster, or train here: launch=local"
        ) from None
    except subprocess.TimeoutExpired:
        raise RequestError(
            f"sbatch did not answer within {_PATIENCE:.0f} s\n"
            "See whether the job is there (squeue --me) before you try again"
        ) from None
    if done.returncode != 0:
        words = [line.removeprefix("sbatch: ").removeprefix("error: ") for line in done.stderr.splitlines()]
        raise RequestError(
            f"Slurm does not take the job: {words[0] if words else f'sbatch ended with {done.returncode}'}\n"
            f"Change what launch.* asks for (sinfo shows what there is); the script is {script}"
        )
    return done.stdout.strip().partition(";")[0]


def states(jobs: Iterable[str]) -> dict[str, str] | None:
    """The states of jobs that have not ended, `12` or `12_3` of an array; None where that is not known."""
    numbers = sorted({job.partition("_")[0] for job in jobs})
    found: dict[str, str] = {}
    for number in numbers:
        done = _ask("squeue", "--noheader", "--array", "--format=%i|%T", f"--jobs={number}")
        # A job that ended a while ago is forgotten.
        if done is None or (done.returncode != 0 and "Invalid job id" not in done.stderr):
            return None
        for line in done.stdout.split():
            name, _, state = line.partition("|")
            found[name] = state
    return found


def facts(job: str) -> dict[str, str]:
    """What Slurm knows of a job; nothing where it cannot be asked."""
    done = _ask("scontrol", "--oneliner", "show", "job", job)
    words = done.stdout.split() if done is not None else []
    return {key: value for word in words for key, equals, value in [word.partition("=")] if equals}


def requeue(job: str) -> bool:
    """Queue a running job again, which ends it here."""
    done = _ask("scontrol", "requeue", job)
    return done is not None and done.returncode == 0


def hosts() -> set[str]:
    """The machines of the cluster."""
    done = _ask("sinfo", "--noheader", "--Node", "--format=%n")
    return set(done.stdout.split()) if done is not None else set()


def first_host() -> str:
    """Of this allocation."""
    done = _ask("scontrol", "show", "hostnames")
    return done.stdout.split()[0] if done is not None and done.stdout.strip() else ""


def _ask(*words: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
