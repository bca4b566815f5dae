"""`nimble-cli look FILE`: what a language model would learn from conversations, before any training."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from nimble_lightning.cli.arguments import quote
from nimble_lightning.commands.argument_parser import Parser, one_run
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.exit_codes import ExitCode
from nimble_lightning.ops.marked_text import MarkedText
from nimble_lightning.ops.untrusted_text import printable

_TRAINER = "trainer=nimble_lightning.llm:SFT"
_BAR = 30


def main(words: list[str]) -> int:
    """Show what would be learned; returns the exit code."""
    asked = _parser().read(words).words
    if not asked or "=" in asked[0]:
        raise RequestError("look needs a file: nimble-cli look chats.jsonl model=NAME")
    chosen = any(word.startswith(("trainer=", "recipe=")) for word in asked)
    named = [f"params.data={quote(asked[0])}", *asked[1:]]
    config, trainer = one_run("look", named if chosen else [_TRAINER, *named])
    if trainer != _TRAINER.partition("=")[2]:
        raise RequestError(f"look shows what nimble_lightning.llm:SFT would learn, and this is {trainer}")
    reading = import_module("nimble_lightning.llm.sft_data")
    params = config.params
    found = reading.read_sft_data(params.model, params.data, **reading.settings_for_reading(params))
    print("\n".join(found.lines()))
    print("\n".join(_histogram(found.summary.histogram())))
    for number, sample in enumerate(found.samples(), 1):
        print(f"\nExample {number}, what is learned is marked:\n{_drawn(sample)}")
    return ExitCode.FINISHED


def _parser() -> Parser:
    parser = Parser(
        "look",
        "Show what a language model would learn from conversations; nothing is trained.",
        "FILE model=NAME [key=value ...]",
    )
    parser.add_argument("words", nargs="*", metavar="FILE key=value", help="as train takes them")
    return parser


def _histogram(bars: list[tuple[int, int]]) -> list[str]:
    most = max((count for _, count in bars), default=0) or 1
    width = len(f"{bars[-1][0]:,}") if bars else 0
    rows = [
        f"  {bound:>{width},}  {'█' * -(-count * _BAR // most):<{_BAR}} {count:,}" for bound, count in bars
    ]
    return ["Texts of up to so many tokens:", *(row.rstrip() for row in rows)]


def _drawn(sample: MarkedText) -> str:
    safe = MarkedText((printable(text), marked) for text, marked in sample.pieces)
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return safe.on_a_terminal() if coloured else str(safe)
