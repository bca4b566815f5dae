"""`--help`: what can be typed, for this trainer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from nimble_lightning.cli.arguments import Request
from nimble_lightning.cli.request_plan import make_plan
from nimble_lightning.cli.schema.parameters import Signature
from nimble_lightning.ops.exit_codes import STOPPED, ExitCode

_WIDTH = 79

_COMMON = "   ".join(f"{code} {code.meaning}" for code in ExitCode if code not in STOPPED)
_SIGNALS = f"{', '.join(map(str, STOPPED))} {ExitCode.TERMINATED.meaning}"

USAGE = """\
Usage: python -m nimble_lightning trainer=FILE [key=value ...]
       python -m nimble_lightning -m trainer=FILE key=value1,value2 ...

FILE is my_trainer.py, my_trainer.py:Class or package.module:Class.
"""

_KEYS = f"""\
Most used settings
  data.batch_size=32           samples in one optimizer step, on each device
  data.micro_batch_size=auto   samples in one forward and backward pass
  lightning.max_epochs=10      any argument of lightning.Trainer goes here
  lightning.devices=auto       as do devices, precision, max_steps ...
  clip.norm=1.0                clip gradients to this norm
  monitor=accuracy mode=max    what the best weights are chosen by
  seed=0
  run_id=NAME                  name of the run's folder; given again, resumes it
  resume=auto                  or never, or the path of a checkpoint
  callbacks.NAME=null          turns one off; callbacks.NAME=true one on

Options
  -m, --multirun               one run for each combination of values
  --cfg job                    show the configuration instead of running it
  --config-dir FOLDER          a folder of your own, with experiment/*.yaml
  --help, --version, --hydra-help, --info

Exit codes
  {_COMMON}
  {_SIGNALS}
"""


def help_text(request: Request, usage: str = USAGE) -> str:
    """The whole text; with `trainer=` the trainer's own parameters come first."""
    plan = make_plan(request, required=False)
    parts = [usage]
    for source in plan.sources:
        parts += [_parameters(signature) for signature in source.signatures]
    parts += [_groups(plan.groups), _KEYS]
    return "\n".join(parts).rstrip()


def _parameters(signature: Signature) -> str:
    lines = [f"Parameters of {signature.owner} ({signature.source.path.name})"]
    for parameter in signature.parameters.values():
        lines += _entry(
            f"params.{parameter.text}", parameter.doc or ("required" if parameter.required else "")
        )
    if signature.open:
        lines.append("  params.NAME=...              any other name as well")
    elif not signature.parameters:
        lines.append("  none")
    return "\n".join(lines) + "\n"


def _groups(groups: Mapping[str, Iterable[str]]) -> str:
    lines = ["Groups (key=choice, or key=[one,another])"]
    for group, options in sorted(groups.items()):
        indent = " " * 14
        listed = textwrap.wrap(", ".join(options), _WIDTH - len(indent)) or ["(none)"]
        lines.append(f"  {group:<12}{listed[0]}")
        lines += [f"{indent}{line}" for line in listed[1:]]
    return "\n".join(lines) + "\n"


def _entry(term: str, text: str) -> list[str]:
    head = textwrap.wrap(term, _WIDTH - 2, subsequent_indent="    ", break_long_words=True)
    lines = [f"  {line}" for line in head]
    if text and len(lines) == 1 and len(lines[0]) < 40 and len(text) <= _WIDTH - 42:
        return [f"{lines[0]:<40}  {text}"]
    return lines + textwrap.wrap(text, _WIDTH, initial_indent="      ", subsequent_indent="      ")
