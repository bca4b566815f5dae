"""The command: from a composed configuration to a printed answer."""

from __future__ import annotations

import json
import warnings

from omegaconf import DictConfig

from nimble_lightning.commands.plan.as_json import as_json
from nimble_lightning.commands.plan.as_text import render
from nimble_lightning.commands.plan.planner import Planner
from nimble_lightning.commands.plan.target_machine import MachineRequest, machine_for
from nimble_lightning.commands.plan.traced_model import prepared
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.runs.job import Job


def plan(config: DictConfig, trainer: str, asked: MachineRequest) -> int:
    """Plan a run and print what came of it; returns the exit code: 0 if something fits.

    Args:
        config: What was asked, composed and checked as for a run.
        trainer: `/absolute/file.py:Class` or `package.module:Class`.
        asked: The options of the command.
    """
    settings = Job.from_config(config, trainer=trainer).settings
    machine = machine_for(settings.processes, asked)
    with warnings.catch_warnings():
        # Advice to a run on this very machine.
        warnings.simplefilter("ignore")
        with prepared(settings, machine) as ready:
            answer = Planner(ready, settings.lightning, machine).answer()
    print(json.dumps(as_json(answer)) if asked.json else render(answer))
    return ExitCode.FINISHED if answer.chosen else ExitCode.FAILED
