"""The command: from a composed configuration and the machine asked for to a printed answer."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from omegaconf import DictConfig

from nimble_lightning.commands.plan.as_text import render, typed
from nimble_lightning.commands.plan.planner import PlannedStep, Planner
from nimble_lightning.commands.plan.traced_model import prepared
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.planning.bound import FORMULA
from nimble_lightning.planning.candidates import USABLE, Candidate
from nimble_lightning.planning.machine import Machine, machine
from nimble_lightning.runs import device_count
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import Processes

_DEVICE, _NETWORK, _A_NODE = "H100", "IB-NDR", 8


def plan(config: DictConfig, trainer: str, asked: MachineRequest) -> int:
    """Plan a run and print what came of it; returns the exit code: 0 if something fits.

    Args:
        config: What was asked, composed and checked as for a run.
        trainer: `/absolute/file.py:Class` or `package.module:Class`.
        asked: The options of the command.
    """
    settings = Job.from_config(config, trainer=trainer).settings
    machine = _machine_for(settings.processes, asked)
    with warnings.catch_warnings():
        # Advice to a run on this very machine.
        warnings.simplefilter("ignore")
        with prepared(settings, machine) as ready:
            answer = Planner(ready, settings.lightning, machine).answer()
    print(json.dumps(_as_json(answer)) if asked.json else render(answer))
    return ExitCode.FINISHED if answer.chosen else ExitCode.FAILED


def _as_json(answer: PlannedStep) -> dict[str, Any]:
    """Bytes, seconds and operations."""
    question, chosen = answer.question, answer.chosen
    return {
        "machine": asdict(question.machine),
        "parameters": question.model.numel,
        "batch_size": question.batch_size,
        "tokens": answer.tokens,
        "flops": answer.flops,
        "peak_flops": question.machine.flops(question.number)[1],
        "usable_share": USABLE,
        "bound": FORMULA,
        "candidates": [_candidate(one) for one in answer.candidates],
        "recommended": None if chosen is None else {**_candidate(chosen), "overrides": typed(answer, chosen)},
        "remedies": [{**_candidate(one), "change": change} for change, one in answer.remedies],
    }


def _candidate(one: Candidate) -> dict[str, Any]:
    return {
        "strategy": one.option.name,
        "overrides": list(one.option.overrides),
        "micro_batch": one.micro_batch,
        "fits": one.fits,
        "at_least": one.at_least,
        "peak": one.memory.total,
        "memory": asdict(one.memory),
        "sent": asdict(one.sent),
        "seconds": None if one.at_least else one.bound.seconds,
        "bound": asdict(one.bound),
    }


@dataclass(frozen=True)
class MachineRequest:
    """The options of the command."""

    device: str = ""
    network: str = ""
    json: bool = False


def _machine_for(processes: Processes, asked: MachineRequest) -> Machine:
    """What `lightning.devices` and `.num_nodes` come to, on the device that was asked for or is here."""
    here = torch.cuda.is_available()
    device = asked.device or (torch.cuda.get_device_name(0) if here else _DEVICE)
    nodes = processes.num_nodes
    a_node, notes = device_count.count(replace(processes, accelerator="gpu")), []
    if not asked.device and not here:
        notes.append(f"there is no GPU here: --device {_DEVICE} is assumed")
    if processes.devices in ("auto", -1) and not here and nodes > 1:
        a_node = _A_NODE
        notes.append(f"lightning.devices={_A_NODE} is assumed")
    if nodes > 1 and not asked.network:
        notes.append(f"--network {_NETWORK} is assumed, a port for each device")
    found = machine(device, asked.network or _NETWORK, a_node, nodes, tuple(notes))
    if here and not asked.device:
        found = replace(found, memory=torch.cuda.get_device_properties(0).total_memory)
    return found
