"""Hydra's sweeper for searches here: each member a trial of an Optuna study that can be continued."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from nimble_lightning.cli.arguments import candidates, quote
from nimble_lightning.cli.compose import as_value
from nimble_lightning.cli.hydra.launcher import SideBySide
from nimble_lightning.cli.hydra.task import Task
from nimble_lightning.cli.request_plan import find_source
from nimble_lightning.cli.schema.check_config import takes_whole_numbers
from nimble_lightning.cli.schema.sections import launch_of
from nimble_lightning.errors import RequestError
from nimble_lightning.ops import studies
from nimble_lightning.ops.exit_codes import TRAINED
from nimble_lightning.ops.metric_names import Mode
from nimble_lightning.ops.metric_values import evaluated
from nimble_lightning.ops.objective import MODES, WAYS, Objective, choose, from_json
from nimble_lightning.ops.similar_names import unknown
from nimble_lightning.run_folder import RECORD
from nimble_lightning.sweeps import outcomes
from nimble_lightning.sweeps.outcomes import MemberOutcome
from nimble_lightning.sweeps.search_space import Space, make_space

if TYPE_CHECKING:
    import optuna


class Search(Sweeper):
    """Proposes the values of each member from what came of the earlier ones.

    Args:
        trials: How many there are to be, those of earlier starts among them.
        sampler: Who proposes: tpe, random, cmaes, gp or grid.
        pruner: Who ends hopeless ones: median, hyperband, or None for nobody.
        objectives: Figures with minimize or maximize; None for the monitored one, in the direction it has.
        storage: Optuna's address of the study; None for a file in the sweep's folder.
        space: Where to search, by the names of keys.
    """

    def __init__(
        self,
        trials: int = 20,
        sampler: str = "tpe",
        pruner: str | None = None,
        objectives: Mapping[str, str] | None = None,
        storage: str | None = None,
        space: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._trials, self._storage = trials, storage
        self._sampler, self._pruner = sampler, pruner
        self._objectives = [_objective(str(name), str(way)) for name, way in (objectives or {}).items()]
        self._space = {str(name): make_space(str(name), dict(given)) for name, given in (space or {}).items()}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._config, self._task = config, cast(Task, task_function)
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        overrides = OverridesParser.create().parse_overrides(arguments)
        self._fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
        self._spaces = self._all_spaces(overrides)
        if not self._spaces:
            raise RequestError(
                "There is nothing to search for. Say where, in the trainer's file: lr: float = param(1e-3, "
                "low=1e-5, high=1e-1), or here: 'params.lr=interval(1e-5,1e-1)'."
            )
        self._refuse_pruning_for_several()
        folder = Path(str(self._config.hydra.sweep.dir))
        self._address = self._storage or f"sqlite:///{folder.absolute()}/study.db"
        monitored = self._monitored(folder)
        self._objectives = self._objectives or [_known(**monitored)]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._proposer = studies.Proposer(self._sampler, int(self._config.seed), self._grid())
        self._study = studies.open_study(
            self._address,
            pruner=studies.pruner(self._pruner),
            objectives={each.metric: WAYS[each.required_mode] for each in self._objectives},
        )
        if monitored:
            self._study.set_user_attr(studies.MONITORED, monitored)
            self._fixed += [
                f"{key}={quote(str(value))}" for key, value in monitored.items() if value is not None
            ]
        self._task.search(self._spaces, self._objectives)
        if isinstance(self._launcher, SideBySide):
            self._require_same(self._launcher)
            self._launcher.stream(self._asked(), self._trials, self._told)
        else:
            self._in_batches(folder)

    # --- what is tried ------------------------------------------------------------------------

    def _asked(self) -> Iterator[tuple[int, list[str]]]:
        """The trials an earlier start was interrupted in, then new ones."""
        for trial in self._proposer.interrupted(self._study):
            yield trial.number, self._words(trial)
        while len(self._study.trials) < self._trials:
            trial = self._proposer.ask(self._study)
            yield trial.number, self._words(trial)

    def _words(self, trial: optuna.Trial) -> list[str]:
        """The overrides of a member; values that are proposed already stay what they are."""
        values: dict[str, Any] = {}
        for name, space in self._spaces.items():
            if all(values.get(_full(key)) == wanted for key, wanted in space.when.items()):
                values[name] = space.suggest(trial, name)
        first = self._objectives[0].metric
        where = {
            "id": trial._trial_id,
            "storage": self._address,
            "prunes": None if self._pruner is None else first,
        }
        return [
            *self._fixed,
            *(f"++{k}={as_value(v)}" for k, v in values.items()),
            f"++trial={as_value(where)}",
        ]

    def _require_same(self, launcher: SideBySide) -> None:
        """Of the members that are there already, the study knows the figures, whatever is asked for now."""
        values: dict[str, Any] = next((trial.params for trial in self._study.trials), {})
        varied = [f"{name}={as_value(value)}" for name, value in values.items()]
        launcher.require_same(varied, [*self._fixed, *(f"++{word}" for word in varied)])

    def _in_batches(self, folder: Path) -> None:
        """For launchers that know nothing of trials: `launch.jobs` at once, the next when all have ended."""
        jobs = getattr(launch_of(self._config), "jobs", None)
        for batch in _together(self._asked(), jobs if isinstance(jobs, int) else 1):
            self._launcher.launch([words for _, words in batch], initial_job_idx=batch[0][0])
            for number, _ in batch:
                if (outcome := outcomes.kept(folder / str(number))) is not None:
                    self._told(outcome)

    def _all_spaces(self, overrides: Sequence[Override]) -> dict[str, Space]:
        source = find_source(str(self._config.trainer), self._config.datamodule)
        found = {
            f"params.{name}": parameter.space
            for signature in source.signatures
            for name, parameter in signature.parameters.items()
            if parameter.space is not None
        }
        found.update(self._space)
        for override in overrides:
            found.pop(override.key_or_group, None)
            if override.is_sweep_override():
                whole = takes_whole_numbers(self._config, override.key_or_group, source.signatures)
                found[override.key_or_group] = _swept(override, whole)
        return found

    def _grid(self) -> dict[str, list[Any]]:
        grid = {name: space.grid for name, space in self._spaces.items()}
        if self._sampler == "grid" and (endless := [name for name, values in grid.items() if not values]):
            raise RequestError(f"{endless[0]} has no end of values; a grid needs choices, or a step.")
        return grid

    # --- what for -----------------------------------------------------------------------------

    def _monitored(self, folder: Path) -> dict[str, Any]:
        """What members are to monitor, to mean what the search means; nothing where it has objectives."""
        if self._objectives:
            return {}
        asked = {"monitor": self._config.monitor, "mode": self._config.mode}
        if asked["monitor"] is None and (self._storage or (folder / "study.db").exists()):
            # A search that goes on looks for the same.
            before = studies.remembered(self._address, studies.MONITORED)
            if asked["mode"] in (None, before.get("mode")):
                return before or asked
        return asked

    def _refuse_pruning_for_several(self) -> None:
        if self._pruner is not None and len(self._objectives) > 1:
            raise RequestError(
                f"hydra.sweeper.pruner={self._pruner} ends trials by one figure, and there are "
                f"{len(self._objectives)} objectives\nAsk for one, or leave the pruner out"
            )

    # --- what came of it ----------------------------------------------------------------------

    def _told(self, outcome: MemberOutcome) -> MemberOutcome:
        """Tell the study; a member that was stopped goes on in the next start and is told of then."""
        if outcome.status in ("running", "stopped") or (number := outcome.number) is None:
            return outcome
        values = self._values(outcome)
        if values is None:
            studies.failed(self._study, number)
        elif studies.finished(self._study, number, values) == "PRUNED":
            outcome = replace(outcome, status="pruned")
            outcomes.keep(outcome)
        return outcome

    def _values(self, outcome: MemberOutcome) -> list[float] | None:
        """What a member reached; None where it failed or did not measure it."""
        if outcome.exit_code not in TRAINED:
            return None
        record = json.loads((outcome.folder / RECORD).read_text(encoding="utf-8"))
        judged = from_json(record.get("best"))
        for each in self._objectives:
            if each.metric not in record["metrics"]:
                raise RequestError(unknown("metric", each.metric, list(evaluated(record["metrics"]))))
            if judged is not None and judged.metric == each.metric and judged.mode not in (None, each.mode):
                raise RequestError(
                    f"The search looks for {each}, and job {outcome.number} found {judged}\n"
                    f"Say which is right, for another sweep_id: mode=min or mode=max"
                )
        values = [float(record["metrics"][each.metric]) for each in self._objectives]
        return values if all(map(math.isfinite, values)) else None


def _objective(metric: str, way: str) -> Objective:
    if way not in MODES:
        raise RequestError(f"hydra.sweeper.objectives.{metric}={way}: expected {' or '.join(MODES)}")
    return Objective(metric, MODES[way], "as asked")


def _known(monitor: str | None, mode: Mode | None) -> Objective:
    """What a search looks for: known before its first trial, or asked for."""
    if monitor is None:
        raise RequestError(
            "A search has to know what it looks for\n"
            "Say which figure of the evaluation: monitor=val_loss, or monitor=NAME mode=min or mode=max"
        )
    found = choose([monitor], monitor, mode)
    if found is None or found.mode is None:
        raise RequestError(
            f"A search has to know whether {monitor} is better lower or higher\nAdd mode=min or mode=max"
        )
    return found


def _swept(override: Override, whole: bool = False) -> Space:
    """The space of `key=interval(...)`, `range(...)`, `choice(...)` or `1,2,3` on a command line.

    Hydra makes the limits of an interval floats: that a setting takes `whole` numbers alone its type says.
    """
    sweep: Any = override.value()
    if isinstance(sweep, IntervalSweep):
        if whole and any((limit or 0) % 1 for limit in (sweep.start, sweep.end)):
            raise RequestError(
                f"{override.key_or_group} takes whole numbers, and {override.input_line} has other limits"
            )
        whole |= isinstance(sweep.start, int) and isinstance(sweep.end, int) or "int" in sweep.tags
        return make_space(
            override.key_or_group,
            {"low": sweep.start, "high": sweep.end, "log": "log" in sweep.tags, "whole": whole},
        )
    return make_space(override.key_or_group, {"choices": candidates(override)})


def _together(asked: Iterable[tuple[int, list[str]]], most: int) -> Iterator[list[tuple[int, list[str]]]]:
    """Jobs that follow each other in number, so many at a time; launchers count from the first on."""
    batch: list[tuple[int, list[str]]] = []
    for number, words in asked:
        if batch and number != batch[-1][0] + 1:
            yield batch
            batch = []
        batch.append((number, words))
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def _full(key: str) -> str:
    """`params.optim` of `optim`, as a condition in the trainer's file spells it."""
    return key if "." in key else f"params.{key}"
