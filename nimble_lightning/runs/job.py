"""A job: what was asked, resolved once. The same job file is read by every worker of every attempt."""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import plain_files, yaml_files
from nimble_lightning.ops.run_files import write_text
from nimble_lightning.run_folder import RunFolder
from nimble_lightning.runs import secret_references
from nimble_lightning.settings import RunSettings

_EPOCHS = 10


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        config: Its configuration, with references such as `${oc.env:NAME}` unresolved.
        folder: Its folder.
        run_id: Its name.
        usual: What the trainer's parameters are unless they are given, where that is known.
    """

    config: DictConfig
    folder: RunFolder
    run_id: str
    usual: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(
        cls,
        config: DictConfig,
        *,
        trainer: str,
        folder: str | Path | None = None,
        usual: Mapping[str, Any] | None = None,
    ) -> Job:
        """Make a job from a composed configuration.

        Args:
            config: As composed by Hydra from `conf/`.
            trainer: `/absolute/file.py:Class` or `package.module:Class`.
            folder: Where to run; `output_dir/<trainer>/<run_id>` by default.
            usual: What the trainer's parameters are unless they are given.
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
        return cls(config, RunFolder(where), run_id, usual or {})

    @classmethod
    def load(cls, folder: str | Path) -> Job:
        """The job of a run folder; nothing in it is resolved.

        Raises:
            RequestError: There is none, or none that was written by a run.
        """
        place = RunFolder(folder)
        try:
            text = plain_files.read(place.path, place.job.name).decode()
            # OmegaConf would write out every alias.
            yaml_files.load(text)
            config = OmegaConf.load(io.StringIO(text))
        except FileNotFoundError:
            raise RequestError(f"{place.path} holds no run: there is no {place.job.name}.") from None
        except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
            reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
            raise RequestError(f"{place.job} cannot be read: {reason}") from None
        if not isinstance(config, DictConfig) or OmegaConf.is_interpolation(config, "run_id"):
            raise RequestError(f"{place.job} was not written by a run.")
        return cls(config, place, str(config.get("run_id")))

    @cached_property
    def settings(self) -> RunSettings:
        """What was asked, with every reference resolved in this process; never written anywhere."""
        return RunSettings.from_config(self.resolved())

    @property
    def name(self) -> str:
        """What the runs of its trainer have in common; it names the folder around theirs."""
        return str(self.config.get("name"))

    @property
    def trainer(self) -> str:
        """`/absolute/file.py:Class` or `package.module:Class`."""
        return str(self.config.get("trainer"))

    def with_changes(self, changes: Mapping[str, Any]) -> Job:
        """The same job with other values of some keys, by their dotted names."""
        config = self.config.copy()
        with open_dict(config):
            for key, value in changes.items():
                OmegaConf.update(config, key, value, merge=False)
        return replace(self, config=config)

    @property
    def code(self) -> str | None:
        """The sha256 of the trainer's file; None where it has none of its own."""
        file = Path(self.trainer.rpartition(":")[0])
        if file.suffix != ".py" or not file.is_file():
            return None
        return hashlib.sha256(file.read_bytes()).hexdigest()

    def save(self) -> None:
        """Write what was asked, at first and now."""
        self.folder.create()
        text = OmegaConf.to_yaml(self.config)
        if not self.folder.job.exists():
            write_text(self.folder.config, text)
        write_text(self.folder.job, text)

    def unresolved(self) -> dict[str, Any]:
        """The configuration as it was asked for, references and all."""
        return OmegaConf.to_container(self.config, resolve=False)  # type: ignore[return-value]

    def resolved(self) -> dict[str, Any]:
        """The configuration with every reference resolved in this process; never written anywhere."""
        resolved = OmegaConf.to_container(self.config, resolve=True)
        secret_references.learn_secrets(self.unresolved(), resolved)
        return resolved  # type: ignore[return-value]


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
    """An id for a new run: the time it starts, and four random digits."""
    return f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{secrets.token_hex(2)}"


def short_name(trainer: str) -> str:
    """`my_trainer` of `folder/my_trainer.py:MyTrainer`; the name of the folder that holds its runs."""
    place, _, name = trainer.rpartition(":")
    if not place:
        place, name = name, ""
    return Path(place).stem if place.endswith(".py") else name or place.rpartition(".")[2]
