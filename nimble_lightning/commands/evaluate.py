"""`nimble-cli evaluate RUN` and `predict RUN`: the figures of a run's weights, and their predictions."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from nimble_lightning.cli.arguments import candidates, read_override
from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.run_folder import seen_from_here

if TYPE_CHECKING:
    from argparse import Namespace
    from contextlib import AbstractContextManager

    from nimble_lightning.api.trained_model import Changes, TrainedModel

_HOW = "--trainer FILE to run a file of yours, --key PUB if it is signed, --trust if it is your own"
_SECTIONS = ("params", "data", "lightning")


def evaluate(words: list[str]) -> int:
    """Evaluate a run's weights."""
    parser = _parser("evaluate", "Evaluate the best weights of a run, on one device.")
    parser.add_argument("--json", action="store_true", help="for programs")
    asked = parser.read(words)
    # Brings torch with it.
    from nimble_lightning.api.prediction_file import as_json

    with _model(asked) as model:
        figures = model.evaluate()
    if asked.json:
        found = {"checkpoint": str(model.checkpoint), "step": model.step, "metrics": as_json(figures)}
        print(json.dumps(found, allow_nan=False))
        return 0
    width = max(map(len, figures))
    for name, value in figures.items():
        print(printable(f"{name.ljust(width)}  {value:.6g}"))
    print(printable(_source(model)))
    return 0


def predict(words: list[str]) -> int:
    """Write the predictions of a run's weights to a file."""
    parser = _parser("predict", "Write what the trainer's predict(batch) returns, one row a sample.")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help=".jsonl, .csv or .parquet")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    asked = parser.read(words)
    # Brings torch with it.
    from nimble_lightning.api.prediction_file import prediction_file

    with _terminable(), prediction_file(asked.out, force=asked.force) as take, _model(asked) as model:
        count = model.predict(take)
    print(printable(f"{asked.out}: {count} row{'' if count == 1 else 's'}; {_source(model)}"))
    return 0


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what is done in this block in order, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.TERMINATED))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser(command: str, text: str) -> Parser:
    parser = Parser(command, text)
    parser.add_argument("run", metavar="RUN", type=Path, help="a run's folder, or one checkpoint in it")
    parser.add_argument(
        "changes",
        metavar="key=value",
        nargs="*",
        help="other settings: data=FILE, params.NAME, data.eval_batch_size, lightning.accelerator",
    )
    parser.add_argument("--trainer", metavar="FILE", help="the trainer's file, to build the model with")
    parser.add_argument("--key", metavar="PUB", help="the public half of the key that signed the run")
    parser.add_argument("--trust", action="store_true", help="run the code that the folder names")
    return parser


def _model(asked: Namespace) -> AbstractContextManager[TrainedModel]:
    from nimble_lightning.api.trained_model import trained_model
    from nimble_lightning.runs.trust import TrustTerms

    terms = TrustTerms(asked.key, asked.trainer, asked.trust, _HOW)
    return trained_model(asked.run, terms, _changes(asked.changes))


def _changes(words: Sequence[str]) -> Changes:
    from nimble_lightning.api.trained_model import Changes

    config = OmegaConf.create({name: {} for name in _SECTIONS})
    for word in words:
        override = read_override(word)
        key, values = override.key_or_group, candidates(override)
        if override.is_delete() or len(values) != 1:
            raise RequestError(f"{word}: expected one value, key=value")
        if key == "data":
            # As for a run: a word or a list is the trainer's parameter of that name.
            key = "params.data"
        if key.partition(".")[0] not in _SECTIONS or "." not in key:
            raise RequestError(
                f"{key} would change nothing about a trained model; there is data=FILE, params.NAME=VALUE, "
                "data.eval_batch_size=N, lightning.accelerator=NAME"
            )
        OmegaConf.update(config, key, values[0], merge=False)
    given: Any = OmegaConf.to_container(config, resolve=True)
    return Changes(**given)


def _source(model: TrainedModel) -> str:
    return f"step {model.step}, {seen_from_here(model.checkpoint)}, on one device"
