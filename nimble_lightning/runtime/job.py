"""A job: what was asked, resolved once. The same job file is read by every worker of every attempt."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nimble_lightning.errors import RequestError
from nimble_lightning.runtime import secret_references
from nimble_lightning.runtime.folder import RunFolder, write_text

# A run is the same run while these stay as they were; the rest (how long, who watches, what is printed) may
# change between starts.
IDENTITY = ("trainer", "datamodule", "params", "data", "optim", "schedule", "clip", "model", "seed")

_EPOCHS = 10


@dataclass(frozen=True)
class Job:
    """One run: its configuration, with references such as `${oc.env:NAME}` unresolved, and its folder."""

    config: DictConfig
    folder: RunFolder
    run_id: str

    @classmethod
    def from_config(cls, config: DictConfig, *, trainer: str, folder: str | Path | None = None) -> Job:
        """Make a job from a composed configuration.

        Args:
            config: As composed by Hydra from `conf/`.
            trainer: `/absolute/file.py:Class` or `package.module:Class`.
            folder: Where to run; `output_dir/<trainer>/<run_id>` by default.
        """
        run_id = run_id_of(config)
        secret_references.refuse_secrets("", config)
        config = OmegaConf.create(OmegaConf.to_container(config, resolve=False))  # type: ignore[assignment]
        config.trainer, config.run_id = trainer, run_id
        config.name = config.get("name") or short_name(trainer)
        _set_length(config.get("lightning") or {})
        where = (
            Path(folder)
            if folder is not None
            else Path(str(config.get("output_dir") or "outputs")) / config.name / run_id
        )
        return cls(config, RunFolder(where), run_id)

    @classmethod
    def load(cls, folder: str | Path) -> Job:
        place = RunFolder(folder)
        if not place.job.exists():
            raise RequestError(f"{place.path} holds no run: there is no {place.job.name}.")
        config = OmegaConf.load(place.job)
        return cls(config, place, str(config.run_id))  # type: ignore[arg-type]

    def save(self) -> None:
        """Write what was asked; refuse to continue a run as if it had been asked differently."""
        self.folder.create()
        text = OmegaConf.to_yaml(self.config)
        if self.folder.job.exists():
            self._require_same(Job.load(self.folder.path))
        else:
            write_text(self.folder.config, text)
        write_text(self.folder.job, text)

    def resolved(self) -> dict[str, Any]:
        """The configuration with every reference resolved in this process; never written anywhere."""
        resolved = OmegaConf.to_container(self.config, resolve=True)
        secret_references.learn_secrets(OmegaConf.to_container(self.config, resolve=False), resolved)
        return resolved  # type: ignore[return-value]

    def _require_same(self, earlier: Job) -> None:
        changed = [k for k in IDENTITY if self.config.get(k) != earlier.config.get(k)]
        if changed:
            raise RequestError(
                f"The run {self.run_id} was started with another {', '.join(changed)}; continuing would be "
                "a different run. "
                "Ask as before, or choose another run_id=NAME."
            )


def run_id_of(config: DictConfig) -> str:
    """The name of a run: the one that was asked for, or a new one.

    Raises:
        RequestError: Several machines that make up a name each would be runs of their own.
    """
    asked = config.get("run_id")
    if asked is None and (config.get("launch") or {}).get("name") == "multinode":
        raise RequestError(
            "launch=multinode needs a name that every node knows. Add run_id=NAME, the same on each of them."
        )
    return str(asked or new_run_id())


def _set_length(limits: Any) -> None:
    """Epochs are a limit where nothing else is one, or where they were asked for."""
    if "max_epochs" in limits and limits["max_epochs"] is None:
        limited = limits.get("max_steps") not in (None, -1) or limits.get("max_time") is not None
        limits["max_epochs"] = -1 if limited else _EPOCHS


def new_run_id() -> str:
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(2)}"


def short_name(trainer: str) -> str:
    """`my_trainer` of `folder/my_trainer.py:MyTrainer`; the name of the folder that holds its runs."""
    place, _, name = trainer.rpartition(":")
    if not place:
        place, name = name, ""
    return Path(place).stem if place.endswith(".py") else name or place.rpartition(".")[2]


def signature_wanted(config: DictConfig) -> bool:
    """Whether a run will be signed when it has ended."""
    return bool((config.get("signature") or {}).get("_target_"))
