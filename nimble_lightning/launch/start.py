"""From a job to its end, by whoever its settings and its surroundings call for."""

from __future__ import annotations

from functools import partial

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external import detect
from nimble_lightning.replay import replay_verdict
from nimble_lightning.runs import device_count
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.lifecycle import LateVerdict
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import Inline, Local, Multinode, Slurm

# Each way is imported when it is taken: most bring torch, and a run takes one.


def start(job: Job) -> Result:
    """Run a job until it is finished, hopeless or stopped. A finished one says so and is left as it is."""
    launch = job.settings.launch
    if (found := detect.around(launch.name)) is not None:
        from nimble_lightning.launch.external import rank

        return rank.run(job, found)
    _require_nodes(job)
    if isinstance(launch, Slurm):
        from nimble_lightning.launch.slurm import queue

        return queue.run(job, launch)
    if isinstance(launch, Inline):
        from nimble_lightning.launch.inline import run_inline

        device_count.require_one(job.settings.processes)
        return run_inline(job)
    if isinstance(launch, Multinode):
        from nimble_lightning.launch.multinode.node import Node

        return Node(job, launch, _late_verdict(job)).run()
    from nimble_lightning.supervision.supervisor import supervise

    return supervise(job, late_verdict=_late_verdict(job))


def _late_verdict(job: Job) -> LateVerdict | None:
    """Of a run that parts are trained of again once its workers have gone."""
    return partial(replay_verdict.verdict, train=start) if job.settings.stretches_replayed else None


def _require_nodes(job: Job) -> None:
    """One command on one machine gives one node."""
    nodes = job.settings.processes.num_nodes
    if nodes > 1 and isinstance(job.settings.launch, Local | Inline):
        raise RequestError(
            f"lightning.num_nodes={nodes} needs as many machines: on each, the same command with "
            "launch=multinode launch.rdzv_endpoint=HOST:PORT run_id=NAME; or launch=slurm, once."
        )
