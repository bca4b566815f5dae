"""The settings of a run as a whole, and its sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nimble_lightning.settings.callbacks import CallbackSettings
from nimble_lightning.settings.fields import Block, Natural, Positive, read, target_of
from nimble_lightning.settings.launch import Launch, Local, chosen_launch


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How data becomes batches."""

    batch_size: Positive = 32
    """Samples in one optimizer step, on each device."""

    micro_batch_size: Literal["auto"] | Positive = "auto"
    """Samples in one forward and backward pass; "auto": all, halved when memory runs out."""

    eval_batch_size: Positive | None = None
    """For evaluation; None: as `batch_size`."""

    num_workers: Natural = 0
    """Processes that load data; 0 loads in the training process."""

    shuffle: bool = True
    """Whether training visits samples in a new order each epoch."""

    seed: Natural | None = None
    """Of that order; None: the run's."""

    group_by_length: bool = False
    """Whether samples of about the same length come in the same batch."""

    remove_unused_columns: bool = True
    """Whether columns go that neither the Hugging Face model takes nor the trainer names."""

    drop_last: bool = False
    """Whether an incomplete last batch is left out."""

    pin_memory: Literal["auto"] | bool = "auto"
    """Whether batches are pinned; "auto": when training on a GPU."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is done to modules before they are trained."""

    compile: bool | Mapping[str, Any] = False
    """Whether, or with which options, modules go through `torch.compile`."""

    gradient_checkpointing: bool | Sequence[str] = False
    """True, or names of the blocks that recompute instead of remember."""

    label_smoothing: float = 0.0
    """Of the loss of a Hugging Face model: how much of each label is shared out among all."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Gradient clipping before each optimizer step; None leaves gradients alone."""

    norm: float | None = None
    """Clip gradients to this norm."""

    value: float | None = None
    """Clip each of their values to this."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """When evaluation begins; how often it comes `lightning` says."""

    on_start: bool = False
    """Whether the untrained model is evaluated as well."""

    after_steps: Natural = 0
    """Not before so many optimizer steps."""


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """How checkpoints are written."""

    asynchronous: bool = False
    """Training waits only while the state is copied, at the price of that much more memory."""

    keep: Literal["all", "best"] | Positive = "best"
    """How many commits stay: the newest so many; "all"; "best": those a resume needs, beside the best."""


@dataclass(frozen=True, kw_only=True)
class ShowSettings:
    """What becomes of what `predict_and_show` yields."""

    keep: Natural = 20
    """So many are kept."""


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What is said, by whom and where."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    replica_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "ERROR"
    """Replicas repeat what rank 0 says, so only what goes wrong on them is worth reading."""

    per_node: bool = False
    """Whether the first process of every node speaks, not only that of the first node."""

    terminal: bool = True
    """Whether on the terminal as well as in log.txt."""

    every_n_steps: Positive = 50

    grad_norm: bool = False
    """Whether the norm of the gradients is logged where nothing is clipped by it, too."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Which trial of which study a run is."""

    storage: str
    """Where the study is, as Optuna takes it."""

    id: int
    """Of the trial, in its storage."""

    prunes: str | None = None
    """The metric by which the study may end it early; None: it does not."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Of lightning.Trainer's arguments, those that decide how many processes there are."""

    accelerator: str = "auto"
    devices: Any = "auto"
    num_nodes: int = 1


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that is asked of a run, each setting by the name that it has in conf/config.yaml."""

    trainer: str | None = None
    """What to train: my_trainer.py, my_trainer.py:Class, package.module:Class, or a function."""

    datamodule: str | None = None
    """The LightningDataModule of a LightningModule, when it is not in the same file; spelt like `trainer`."""

    params: Mapping[str, Any] = field(default_factory=dict)
    """The keywords of the trainer's pre_process."""

    seed: Natural = 0

    run_id: str | None = None
    """Name of the run's folder; given again, resumes it."""

    sweep_id: str | None = None
    """The same for a sweep."""

    trial: Trial | None = None
    """Set by a search for each of its members."""

    asked: Sequence[str] | None = None
    """The settings that were asked for, by dotted names, where that is known."""

    resume: Literal["auto", "never"] | Path = "auto"
    """From the newest whole checkpoint of this run ("auto"), afresh ("never"), or from the one at a path."""

    output_dir: Path = Path("outputs")
    """A run lives in output_dir/name/run_id."""

    name: str | None = None
    """Of the folder for the runs of a trainer; None: as the trainer's file or class."""

    monitor: str | None = None
    """What the best weights are chosen by; None: the validation loss, else `evaluate`'s first metric."""

    mode: Literal["min", "max", None] = None
    """None: as the torchmetrics object says, else as the words of the metric's name do."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    clip: Clip = field(default_factory=Clip)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)

    export: Sequence[Literal["safetensors", "torch", "onnx", "merged"]] | None = ("safetensors",)
    """In which formats the best weights are exported when the run ends."""

    report: bool | Positive = True
    """Whether there is a page of the run; a number: at most so often while it goes on, in seconds."""

    show: ShowSettings = field(default_factory=ShowSettings)
    log: LogSettings = field(default_factory=LogSettings)

    lightning: Mapping[str, Any] = field(default_factory=dict)
    """Goes to lightning.Trainer as it stands."""

    launch: Launch = field(default_factory=Local)
    """Who runs it."""

    callbacks: CallbackSettings = field(default_factory=CallbackSettings)

    logger: Any = None
    """The blocks of loggers, by name."""

    optim: Block = None
    """Of trainers without `configure_optimizers`; None: torch's AdamW."""

    schedule: Block = None
    """Of the learning rate of that optimizer; None: constant."""

    validator: Block = None
    signature: Block = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> RunSettings:
        """The settings of a composed configuration, references resolved."""
        sections = {name: read(kind, config.get(name)) for name, kind in SECTIONS.items()}
        resume, trial = str(config.get("resume") or "auto"), config.get("trial")
        formats = config.get("export", cls.export)
        return read(
            cls,
            {
                **config,
                **sections,
                "params": config.get("params") or {},
                "trial": read(Trial, trial) if trial else None,
                "resume": resume if resume in ("auto", "never") else Path(resume),
                "output_dir": Path(config.get("output_dir") or "outputs"),
                "export": [formats] if isinstance(formats, str) else formats,
                "lightning": config.get("lightning") or {},
                "launch": chosen_launch(config.get("launch")),
                "callbacks": CallbackSettings.from_blocks(config.get("callbacks")),
            },
        )

    @property
    def signed(self) -> bool:
        """Whether it is signed when it has ended."""
        return bool(target_of(self.signature))

    @property
    def stretches_kept(self) -> int:
        """Pairs of neighbouring commits that are kept for others to train between them again."""
        return int((self.signature or {}).get("keep_stretches") or 0)

    @property
    def stretches_replayed(self) -> int:
        """How many of them `validator=replay` trains again when the run has ended."""
        replay = target_of(self.validator).endswith(".Replay")
        return int((self.validator or {}).get("stretches") or 0) if replay else 0

    @property
    def processes(self) -> Processes:
        """How many processes there are to be."""
        given = self.lightning
        return Processes(
            accelerator=str(given.get("accelerator", "auto")),
            devices=given.get("devices", "auto"),
            num_nodes=int(given.get("num_nodes") or 1),
        )


# Sections of simple settings, by name.
SECTIONS: Mapping[str, type[Any]] = {
    "data": DataSettings,
    "model": ModelSettings,
    "clip": Clip,
    "evaluation": EvaluationSettings,
    "checkpoints": CheckpointSettings,
    "show": ShowSettings,
    "log": LogSettings,
}
