"""The account of a run, put together by whoever supervised it once it has ended."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nimble_lightning.errors import NimbleError
from nimble_lightning.gpu import devices_in_use
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.runs import device_count
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import Inline, UsageSettings
from nimble_lightning.usage import host_energy, webhook
from nimble_lightning.usage.account import UsageSubject, account, save_account
from nimble_lightning.usage.account_table import table
from nimble_lightning.usage.clock import OTHER, Clock
from nimble_lightning.usage.energy import Energy
from nimble_lightning.usage.prices import Prices, UsageTerms, made
from nimble_lightning.usage.rank_record import RankRecord, pieces, this_process
from nimble_lightning.usage.recorder import UsageRecorder

log = logging.getLogger(__name__)


def complete(job: Job) -> None:
    """Write the account of a run that has ended, show it, and send it where the user wants it.

    One that cannot be written has ended all the same.
    """
    settings = job.settings.callbacks.usage_report
    if settings is None:
        return
    try:
        usage = write(job, settings, final=True)
        text = table(usage)
        print(text, flush=True)
        with open(job.folder.log, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except (OSError, NimbleError) as error:
        log.warning("the account of %s could not be written: %s", job.run_id, error)
        return
    if settings.report_to and (why := webhook.post(settings.report_to, usage)):
        log.warning(
            "the usage was not reported (%s); nimble-cli usage %s --send --trust does it later",
            why,
            job.folder.path,
        )


def write(job: Job, settings: UsageSettings, *, final: bool) -> dict[str, Any]:
    """Put the account together from what was recorded and what the workers noted."""
    attempts = read_json(job.folder.run).get("attempts", [])
    subject = UsageSubject(
        run_id=job.run_id,
        name=job.name,
        recorded=attempts,
        ranks=device_count.count(job.settings.processes)
        * max((len(attempt.get("nodes", "1")) for attempt in attempts), default=1),
        final=final,
    )
    usage = account(subject, pieces(job.folder.path), _terms(settings))
    save_account(job.folder.path, usage)
    return usage


@contextmanager
def of_whole_run(job: Job, attempt: int, rank: int) -> Iterator[None]:
    """Note what this process takes while a trainer trains by itself; nobody knows its steps."""
    settings = job.settings.callbacks.usage_report
    if settings is None:
        yield
        return
    # Refused now rather than at the end.
    _terms(settings)
    age = host_energy.process_age() if not isinstance(job.settings.launch, Inline) else 0.0
    gpus = devices_in_use()
    world_size, local_rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    own = gpus[local_rank : local_rank + 1] if world_size > 1 else gpus
    piece = this_process(
        RankRecord(
            attempt=attempt,
            rank=rank,
            world_size=world_size,
            run=job.run_id,
            started=time.time() - age,
            device=own[0].name if own else "cpu",
            flops_note="the trainer trains by itself",
        )
    )
    clock = Clock(age)
    recorder = UsageRecorder(
        job.folder.path,
        piece,
        clock,
        Energy(own, host_energy.Rapl(mine=local_rank == 0), from_birth=age > 0),
        after=(lambda: _rewrite(job, settings)) if rank == 0 else _nothing,
    )
    clock.switch(OTHER)
    recorder.start()
    try:
        yield
    finally:
        recorder.stop()


def _rewrite(job: Job, settings: UsageSettings) -> None:
    write(job, settings, final=False)


def _nothing() -> None:
    """Other ranks note what they use, and no more."""


def _terms(settings: UsageSettings) -> UsageTerms:
    return UsageTerms(
        made(Prices, settings.prices, "prices"), settings.grid, settings.pue or 1.0, settings.peak_flops
    )
