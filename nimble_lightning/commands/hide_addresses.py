"""Addresses typed on a command line, moved where the process list does not show them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence

FLAG = "--notification"
_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://\S+")


def conceal(arguments: Sequence[str], become: Callable[..., None] = os.execve) -> None:
    """Become the same command with variables in the place of the addresses to be told, if there are any.

    What was typed is seen only as long as that takes.

    Args:
        arguments: The words after the name of the program.
        become: Takes the place of this process; given a program, its words and its environment.
    """
    names = {
        address: f"NIMBLE_NOTIFICATION_{number}"
        for number, address in enumerate(addresses_in(arguments), start=1)
    }
    if not names:
        return
    words = []
    for word in sys.orig_argv:
        flag, address = _split(word)
        words.append(f"{flag}secret:{names[address]}" if address in names else word)
    sys.stdout.flush()
    sys.stderr.flush()
    become(sys.executable, words, {**os.environ, **{name: address for address, name in names.items()}})


def addresses_in(arguments: Sequence[str]) -> Iterator[str]:
    """Those after `--notification` of `train`, and all of `notify`."""
    command, *words = arguments or [""]
    taking = command == "notify"
    for word in words if command in ("train", "notify") else ():
        flag, address = _split(word)
        if flag or word == FLAG:
            taking = True
        if taking and _ADDRESS.fullmatch(address):
            yield address
        elif word != FLAG and command == "train":
            taking = False


def _split(word: str) -> tuple[str, str]:
    """`--notification=` and what follows it, or nothing and the word."""
    return (f"{FLAG}=", word[len(FLAG) + 1 :]) if word.startswith(f"{FLAG}=") else ("", word)
