"""One short run of the trainer, by the same supervisor and workers as a long one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nimble_lightning.launch.start import start
from nimble_lightning.ops.run_files import read_json
from nimble_lightning.runs import device_count
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import DataSettings, Processes, read
from nimble_lightning.worker.output import printed_to

STEPS = 6
# In the middle of an epoch, one step after a commit: that step has to be done again.
KILL_AT = 5
_BATCHES_AN_EPOCH = 3
_COMMIT_EVERY = 2
# They speak of real runs, to people or to their books.
_SILENT = ("progress", "notification", "gpu_info", "usage_report", "hub_push", "early_stopping")
_LIMITS = (
    "val_check_interval",
    "check_val_every_n_epoch",
    "overfit_batches",
    "fast_dev_run",
    "max_time",
    "min_steps",
)
_LIMITS_TOO = ("limit_val_batches", "limit_test_batches", "min_epochs", "barebones", "profiler", "logger")


@dataclass
class Trial:
    """What a trial left behind.

    Attributes:
        result: How the run ended.
        notes: What each rank noted.
        error: The first error of a worker, if there was one.
        shown: The index of what was shown; None where nothing was to be shown.
    """

    result: Result
    notes: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    shown: list[dict[str, Any]] | None = None

    def noted(self, what: str, rank: int = 0) -> list[dict[str, Any]]:
        return [note for note in self.notes.get(rank, []) if note["what"] == what]


class Trials:
    """Runs trials of one configuration in a folder of their own.

    Args:
        config: What was asked, as for a run.
        trainer: Where a worker finds the trainer.
        folder: Everything a trial writes is below it.
    """

    def __init__(self, config: DictConfig, trainer: str, folder: Path) -> None:
        self._config = config
        self._trainer = trainer
        self._folder = folder
        data = read(DataSettings, OmegaConf.select(config, "data"))
        size = data.eval_batch_size or data.batch_size
        # One more than whole batches, and an odd number: it can be divided evenly in no way.
        self.samples = 2 * int(size) + 1

    def run(self, name: str, *, processes: int, kill: bool) -> Trial:
        notes = self._folder / f"{name}.notes"
        notes.mkdir()
        config = OmegaConf.create(self._altered(notes, processes, kill))
        job = Job.from_config(config, trainer=self._trainer, folder=self._folder / name)
        with printed_to(self._folder / f"{name}.said"):
            result = start(job)
        errors = [read_json(path) for path in sorted(job.folder.errors.glob("attempt-*.json"))]
        index = job.folder.show_index
        trial = Trial(
            result,
            {int(re.sub(r"\D", "", path.stem)): _lines(path) for path in notes.glob("rank-*.jsonl")},
            min((e for e in errors if e), key=lambda e: e["time"], default={}),
            json.loads(index.read_text(encoding="utf-8")) if index.exists() else None,
        )
        shutil.rmtree(job.folder.checkpoints, ignore_errors=True)
        return trial

    def _altered(self, notes: Path, processes: int, kill: bool) -> dict[str, Any]:
        config: dict[str, Any] = OmegaConf.to_container(self._config, resolve=False)  # type: ignore[assignment]
        config.update(
            logger={},
            launch={"name": "local"},
            signature={},
            validator={},
            export=None,
            report=False,
            resume="auto",
            run_id=None,
            output_dir=str(self._folder),
        )
        lightning = {
            k: v for k, v in (config.get("lightning") or {}).items() if k not in _LIMITS + _LIMITS_TOO
        }
        if processes > device_count.count(Processes()):
            lightning["accelerator"] = "cpu"
        config["lightning"] = {
            # Some kernels of a GPU add up in any order unless asked not to.
            "deterministic": "warn",
            **lightning,
            "devices": processes,
            "max_steps": STEPS,
            "max_epochs": STEPS,
            "limit_train_batches": _BATCHES_AN_EPOCH,
            "num_sanity_val_steps": -1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        here = __name__.rpartition(".")[0]
        probe = {"_target_": f"{here}.probe.Probe", "folder": str(notes), "samples": self.samples}
        config["callbacks"] = {
            **{name: block for name, block in (config.get("callbacks") or {}).items() if name not in _SILENT},
            "exact_resume": {"_target_": "nimble_lightning.callbacks.ExactResume"},
            "auto_retry": {
                "_target_": "nimble_lightning.callbacks.AutoRetry",
                "max_retries": 2 if kill else 0,
                "save_every_n_steps": _COMMIT_EVERY,
            },
            "check": {**probe, "kill_at": KILL_AT if kill else None},
        }
        return config


def _lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last may have been cut off by the kill."""
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
