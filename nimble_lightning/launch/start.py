"""From a job to its end, by whoever its settings and its surroundings call for."""

from __future__ import annotations

from functools import partial

from nimble_lightning.errors import RequestError
from nimble_lightning.runtime import replayed
from nimble_lightning.runtime.concluding import Judge
from nimble_lightning.runtime.foreign import ranks
from nimble_lightning.runtime.job import Job, stretches_wanted
from nimble_lightning.runtime.result import Result

# Each way is imported when it is taken: most bring torch, and a run takes one.


def start(job: Job) -> Result:
    """Run a job until it is finished, hopeless or stopped. A finished one says so and is left as it is."""
    launch = str((job.config.get("launch") or {}).get("name", "local"))
    if (found := ranks.around(launch)) is not None:
        from nimble_lightning.runtime.foreign import one_of_many

        return one_of_many.run(job, found)
    _require_nodes(job, launch)
    if launch == "slurm":
        from nimble_lightning.runtime.slurm import queue

        return queue.run(job)
    if launch == "inline":
        from nimble_lightning.runtime.inline import run_inline

        return run_inline(job)
    if launch == "multinode":
        from nimble_lightning.runtime.nodes.node import Node

        return Node(job, _judge(job)).run()
    from nimble_lightning.runtime.supervisor import supervise

    return supervise(job, judge=_judge(job))


def _judge(job: Job) -> Judge | None:
    """Who judges a run once its workers have gone, where that takes training parts of it again."""
    return partial(replayed.verdict, train=start) if stretches_wanted(job.config) else None


def _require_nodes(job: Job, launch: str) -> None:
    """One command on one machine gives one node."""
    nodes = int((job.config.get("lightning") or {}).get("num_nodes") or 1)
    if nodes > 1 and launch in ("local", "inline"):
        raise RequestError(
            f"lightning.num_nodes={nodes} needs as many machines: on each, the same command with "
            "launch=multinode launch.rdzv_endpoint=HOST:PORT run_id=NAME; or launch=slurm, once."
        )
