"""The command `python -m nimble_lightning`: Hydra's, with answers before it starts anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.cli import say
from nimble_lightning.cli.arguments import Request, parse
from nimble_lightning.cli.compose import PACKAGE, VERSION, as_value
from nimble_lightning.cli.help_text import USAGE, help_text
from nimble_lightning.cli.hydra import ray_launcher
from nimble_lightning.cli.hydra.task import Task
from nimble_lightning.cli.output_folder import place
from nimble_lightning.cli.request_plan import RequestPlan, make_plan
from nimble_lightning.cli.schema.check_config import fill_defaults
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.launch.external.detect import found
from nimble_lightning.ops.exit_codes import STOPPED, ExitCode
from nimble_lightning.run_folder import seen_from_here
from nimble_lightning.terminal.streams import close_for_good, expendable


def main(argv: Sequence[str] | None = None, usage: str = USAGE) -> int:
    """Run a command line; returns the exit code.

    Args:
        argv: The words after the name of the program.
        usage: The head of `--help`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _answer(words, usage)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return close_for_good()
    except NimbleError as error:
        say.complain(f"error: {error}", error)
        return ExitCode.of(error)
    except (HydraException, OmegaConfBaseException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        say.complain(f"error: {_first_lines(error)}", error)
        return ExitCode.REFUSED


def _answer(words: list[str], usage: str) -> int:
    if "--version" in words:
        from importlib.metadata import version

        print(f"nimble-lightning {version('nimble-lightning')}")
        return 0
    request = parse(words)
    flags = request.flags
    if flags.experimental_rerun is not None:
        raise RequestError(
            "--experimental-rerun is not supported\nAsk for the same run_id=NAME to continue a run"
        )
    if flags.shell_completion:
        raise RequestError(
            "A shell completes the words of a program, not those of python -m\n"
            'There is: eval "$(nimble-cli --shell-completion install=bash)"'
        )
    if flags.hydra_help:
        return _hydra(request.argv([]), Task())
    if flags.help:
        print(help_text(request, usage))
        return 0
    plan = make_plan(request)
    if flags.cfg == "job":
        print(_as_yaml(plan, flags.package, flags.resolve), end="")
        return 0
    if flags.cfg is not None or flags.info is not None:
        return _hydra(request.argv(plan.overrides), Task())
    with expendable():
        return _start(request, plan)


def complete(words: Sequence[str]) -> int:
    """Answer a shell that completes a command line, or install that."""
    request = parse(words)
    return _hydra(request.argv(request.flags.overrides), Task())


def _start(request: Request, plan: RequestPlan) -> int:
    if not plan.sources:
        raise RequestError(
            "There is no trainer to run\n"
            "Give one: python -m nimble_lightning trainer=my_trainer.py (--help says more)"
        )
    if request.multirun and (ranks := found()) is not None:
        raise RequestError(
            f"A sweep (-m) starts the processes of its members itself, and {ranks.launcher.name} has started "
            f"{ranks.size} already\nLeave {ranks.launcher.name} out: python -m nimble_lightning -m ..."
        )
    launcher = ray_launcher.overrides(plan.config, multirun=request.multirun)
    overrides = [*plan.overrides, *place(plan, request), *launcher, f"++asked={as_value(plan.asked)}"]
    if request.multirun:
        return _start_sweep(request, plan.config, overrides)
    task = Task()
    code = _hydra(request.argv(overrides), task)
    return code or (task.outcomes[-1].exit_code if task.outcomes else 1)


def _start_sweep(request: Request, config: DictConfig, overrides: list[str]) -> int:
    task = Task([o.key_or_group for o in request.overrides if o.is_sweep_override()])
    folder = _sweep_folder(overrides)
    try:
        code = _hydra(request.argv(overrides), task)
    except RequestError:
        # Whatever is in the folder, it is not the work of this command.
        raise
    except BaseException:
        _sum_up(task, folder, config, 1)
        raise
    return _sum_up(task, folder, config, code)


def _sum_up(task: Task, folder: Path, config: DictConfig, code: int) -> int:
    """Table, JSON and page of a sweep; returns the exit code."""
    # Most commands start no sweep.
    from nimble_lightning.sweeps import summary_table, sweep_json
    from nimble_lightning.sweeps.outcomes import all_kept

    outcomes = all_kept(task.outcomes[0].folder.parent if task.outcomes else folder)
    code = code or summary_table.exit_code([*outcomes, *task.outcomes])
    if outcomes:
        objectives = task.objectives or sweep_json.judged_by(outcomes)
        print(
            "\n".join(["", summary_table.table(outcomes), *sweep_json.said(outcomes, objectives)]), flush=True
        )
        print(
            seen_from_here(sweep_json.write(outcomes[0].folder.parent, outcomes, objectives, code)),
            flush=True,
        )
        if not any(outcome.status == "submitted" for outcome in outcomes):
            summary_table.write_page(outcomes, wanted=config.report)
            summary_table.tell(outcomes, config)
            if code in STOPPED:
                print(f"To go on: the same command with sweep_id={folder.name}", flush=True)
    return code


def _hydra(words: list[str], task: Task) -> int:
    """Hand the rest to Hydra itself: sweepers, launchers, completion."""
    # Answers that start nothing need neither.
    from nimble_lightning.cli.hydra import plugins

    plugins.register()
    before = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [sys.argv[0], *words]
    # Hydra then raises its errors instead of printing them, and they are explained here.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base=VERSION, config_path=f"pkg://{PACKAGE}", config_name="config")(task)()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    finally:
        sys.argv = before[0]
        os.environ.pop("HYDRA_FULL_ERROR")
        if before[1] is not None:
            os.environ["HYDRA_FULL_ERROR"] = before[1]
    return 0


def _as_yaml(plan: RequestPlan, package: str | None, resolve: bool) -> str:
    config = plan.config
    for source in plan.sources[:1]:
        fill_defaults(config, source.signatures)
    part = OmegaConf.select(config, package) if package not in (None, "_global_") else config
    if part is None:
        raise RequestError(f"--package {package}: there is no such section")
    if not isinstance(part, DictConfig):
        return f"{part}\n"
    if not resolve:
        return OmegaConf.to_yaml(part)
    from nimble_lightning.runs.secret_references import resolved_for_people

    return resolved_for_people(part)


def _sweep_folder(overrides: Sequence[str]) -> Path:
    given = [text.partition("=")[2] for text in overrides if text.startswith("hydra.sweep.dir=")]
    return Path(given[-1].strip("'")) if given else Path("multirun")


def _first_lines(error: Exception) -> str:
    text = str(error) or str(error.__cause__ or type(error).__name__)
    lines = [line.strip() for line in text.splitlines() if line.strip() and "hydra.cc/docs" not in line]
    return "\n".join(lines[:2])
