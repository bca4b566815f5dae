"""From the words after a command that tries a file to the configuration of one run of it."""

from __future__ import annotations

from omegaconf import DictConfig

from nimble_lightning.cli.arguments import parse, quote
from nimble_lightning.cli.make_job import complete
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.errors import RequestError


def one_run(command: str, words: list[str]) -> tuple[DictConfig, str]:
    """The checked configuration, and where the trainer is.

    Args:
        command: For the error, where there is no file.
        words: `FILE [key=value ...]`, or `trainer=FILE` among the others.
    """
    named = [f"trainer={quote(words[0])}", *words[1:]] if words and "=" not in words[0] else list(words)
    if not any(word.startswith("trainer=") for word in named):
        raise RequestError(f"{command} needs a file: nimble-cli {command} my_trainer.py")
    asked = make_plan(parse(named))
    source = asked.sources[0]
    complete(asked.config, source)
    if source.data is not None:
        asked.config.datamodule = source.data.reference
    return asked.config, source.trainer.reference
