"""What is asked of a run now against what was asked of it before, and what each difference comes to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nimble_lightning.report import shipped_defaults
from nimble_lightning.report.changed_settings import classes, value

Kind = Literal["another", "length", "afterwards", "onward", "unseen"]

# By the longest name that fits. Whatever is not listed makes another run: its numbers would be others.
_KINDS: dict[str, Kind] = {
    # How far it goes: the same run, trained further.
    "lightning.max_epochs": "length",
    "lightning.min_epochs": "length",
    "lightning.max_steps": "length",
    "lightning.min_steps": "length",
    "lightning.max_time": "length",
    "callbacks.early_stopping": "length",
    # Done with what has been trained, so it can be done later as well.
    "validator": "afterwards",
    "signature": "afterwards",
    "export": "afterwards",
    "report": "afterwards",
    "show": "afterwards",
    "callbacks.hub_push": "afterwards",
    "callbacks.usage_report": "afterwards",
    # On what and how it is trained from here on: machines come and go while a run lasts.
    "callbacks": "onward",
    "data.micro_batch_size": "onward",
    "data.eval_batch_size": "onward",
    "data.num_workers": "onward",
    "data.pin_memory": "onward",
    "lightning.accelerator": "onward",
    "lightning.devices": "onward",
    "lightning.num_nodes": "onward",
    "lightning.plugins": "onward",
    "lightning.strategy": "onward",
    # No figure depends on them.
    "callbacks.auto_retry": "unseen",
    "callbacks.gpu_info": "unseen",
    "callbacks.notification": "unseen",
    "callbacks.progress": "unseen",
    "asked": "unseen",
    "checkpoints": "unseen",
    "hydra": "unseen",
    "launch": "unseen",
    "lightning.default_root_dir": "unseen",
    "lightning.detect_anomaly": "unseen",
    "lightning.enable_model_summary": "unseen",
    "lightning.enable_progress_bar": "unseen",
    "lightning.log_every_n_steps": "unseen",
    "lightning.num_sanity_val_steps": "unseen",
    "lightning.profiler": "unseen",
    "log": "unseen",
    "logger": "unseen",
    "name": "unseen",
    "output_dir": "unseen",
    "resume": "unseen",
    "run_id": "unseen",
    "sweep_id": "unseen",
    "trial": "unseen",
    # Without them, or with others, the best or the averaged weights are not those of the run.
    "callbacks.best_checkpoint": "another",
    "callbacks.ema": "another",
}
_BY_NAME = ("callbacks", "logger")
_LONGEST = 60


@dataclass(frozen=True)
class Change:
    """One setting that is asked for differently.

    Attributes:
        key: Its dotted name.
        then: What it was; None as well where it was not there.
        now: What it is.
    """

    key: str
    then: Any
    now: Any

    @property
    def kind(self) -> Kind:
        """What it comes to for the run."""
        parts = self.key.split(".")
        names = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
        kind: Kind = next((_KINDS[name] for name in names if name in _KINDS), "another")
        if kind == "afterwards" and self.key in _KINDS:
            # What was done with a run that has ended stays done; and what nobody counted cannot be counted.
            uncounted = self.key == "callbacks.usage_report" and _is_off(self.then)
            return "unseen" if uncounted or _is_off(self.now) else kind
        return kind

    def is_in(self, name: str) -> bool:
        """Whether it is the setting of that name, or one of that section."""
        return f"{self.key}.".startswith(f"{name}.")

    def __str__(self) -> str:
        usual = "not given" if self.key.startswith("params.") else "none"
        then, now = (usual if _is_empty(side) else _told(side) for side in (self.then, self.now))
        return f"{self.key}: {then} then, {now} now"


def changes(then: DictConfig, now: DictConfig, usual: Mapping[str, Any]) -> list[Change]:
    """The settings that are asked for differently.

    One that only one side has is compared as what it is by itself: another version of the package, or of the
    trainer, may have more of them.

    Args:
        then: What a run was asked for.
        now: What it is asked for.
        usual: What the trainer's parameters are unless they are given.
    """
    before, after = _whole(then, usual), _whole(now, usual)
    return [change for change in _differences(before, after) if not _stand_for_the_same(change, then, now)]


def _whole(config: DictConfig, usual: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with everything that it leaves unsaid."""
    given: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    base = shipped_defaults.defaults(classes(given))
    for group in _BY_NAME:
        blocks = [(n, b) for n, b in (given.get(group) or {}).items() if isinstance(b, Mapping)]
        base[group] = {
            n: shipped_defaults.block(group, n)[group][n]
            for n, _ in blocks
            if n in shipped_defaults.choices(group)
        }
    return shipped_defaults.merged({**base, "params": dict(usual)}, given)


def _differences(then: Any, now: Any, path: tuple[str, ...] = ()) -> Iterator[Change]:
    sections = all(isinstance(side, Mapping) or side is None for side in (then, now))
    if sections and _target(then) == _target(now):
        for name in {**(then or {}), **(now or {})}:
            if name != "_target_":
                yield from _differences((then or {}).get(name), (now or {}).get(name), (*path, str(name)))
    elif then != now and not (_is_empty(then) and _is_empty(now)) and not _came_by_itself(then, now, path):
        yield Change(".".join(path), then, now)


def _came_by_itself(then: Any, now: Any, path: tuple[str, ...]) -> bool:
    """Whether it is a callback that a newer version has on unless it is turned off."""
    if (
        then is not None
        or len(path) != 2
        or path[0] != "callbacks"
        or _KINDS.get(".".join(path)) == "another"
    ):
        return False
    return bool(now == shipped_defaults.block("callbacks", "default").get("callbacks", {}).get(path[1]))


def _stand_for_the_same(change: Change, then: DictConfig, now: DictConfig) -> bool:
    """Whether it is left to the machine now, or is one value written in two ways."""
    if change.now == "auto" and change.kind == "onward":
        return True
    if change.key == "trainer":
        # nl.run("file.py") leaves the class to be found in the file.
        return any(f"{a}:" == f"{b}"[: len(f"{a}:")] for a, b in permutations((change.then, change.now)))
    if not any(isinstance(side, str) and "${" in side for side in (change.then, change.now)):
        return False
    try:
        return bool(OmegaConf.select(then, change.key) == OmegaConf.select(now, change.key))
    except OmegaConfBaseException:
        return False


def _target(node: Any) -> str | None:
    """The class of a block; where one of ours or of Lightning's is found may change with the version."""
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return target and re.sub(r"^(nimble_)?lightning\..*\.", "lightning.", str(target))


def _is_empty(node: Any) -> bool:
    return node is None or (isinstance(node, Mapping | list) and not node)


def _is_off(node: Any) -> bool:
    return _is_empty(node) or node is False or str(_target(node)).endswith(".NoValidator")


def _told(node: Any) -> str:
    """A value in a few words; references stay unresolved, since what they stand for may be a secret."""
    if (target := _target(node)) is not None:
        return "none" if _is_off(node) else target.rpartition(".")[2]
    text = re.sub(r"\s+", " ", value(node))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
