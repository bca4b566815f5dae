"""From a job to its end, by whoever its settings and its surroundings call for."""

from __future__ import annotations

from functools import partial

from nimble_lightning.errors import RequestError
from nimble_lightning.runs.lifecycle import LateVerdict
from nimble_lightning.runtime import devices, replayed
from nimble_lightning.runtime.foreign import ranks
from nimble_lightning.runtime.job import Job
from nimble_lightning.runtime.result import Result
from nimble_lightning.settings import Inline, Local, Multinode, Slurm

# Each way is imported when it is taken: most bring torch, and a run takes one.


def start(job: Job) -> Result:
    """Run a job until it is finished, hopeless or stopped. A finished one says so and is left as it is."""
    launch = job.settings.launch
    if (found := ranks.around(launch.name)) is not None:
        from nimble_lightning.runtime.foreign import one_of_many

        return one_of_many.run(job, found)
    _require_nodes(job)
    if isinstance(launch, Slurm):
        from nimble_lightning.runtime.slurm import queue

        return queue.run(job, launch)
    if isinstance(launch, Inline):
        from nimble_lightning.runtime.inline import run_inline

        devices.require_one(job.settings.processes)
        return run_inline(job)
    if isinstance(launch, Multinode):
        from nimble_lightning.runtime.nodes.node import Node

        return Node(job, launch, _late_verdict(job)).run()
    from nimble_lightning.runtime.supervisor import supervise

    return supervise(job, late_verdict=_late_verdict(job))


def _late_verdict(job: Job) -> LateVerdict | None:
    """Of a run that parts are trained of again once its workers have gone."""
    return partial(replayed.verdict, train=start) if job.settings.stretches_replayed else None


def _require_nodes(job: Job) -> None:
    """One command on one machine gives one node."""
    nodes = job.settings.processes.num_nodes
    if nodes > 1 and isinstance(job.settings.launch, Local | Inline):
        raise RequestError(
            f"lightning.num_nodes={nodes} needs as many machines: on each, the same command with "
            "launch=multinode launch.rdzv_endpoint=HOST:PORT run_id=NAME; or launch=slurm, once."
        )
