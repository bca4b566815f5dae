"""`nimble-cli keygen`, `sign` and `verify`."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import RequestError
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.proof import OMS, Ed25519, Expected, Report, generate, verify
from nimble_lightning.proof.keys import FROM_ENVIRONMENT, read_private, resolve
from nimble_lightning.proof.secret_scan import secrets_of
from nimble_lightning.proof.sign_folder import sign
from nimble_lightning.run_folder import JOB

_ASK = "ask"
_NOT_VERIFIED = 1


def keygen(words: Sequence[str]) -> int:
    """Make a key that only its owner can read, and its public half beside it."""
    parser = Parser("keygen", "Make a key that only its owner can read, and its public half beside it.")
    parser.add_argument("--out", required=True, metavar="KEY.pem", help="where the private half goes")
    _add_passphrase(parser, "encrypt the key; asked for unless env:NAME says where it is")
    parser.add_argument("--kind", choices=["ed25519", "ecdsa"], default="ed25519", help="ecdsa is for OMS")
    asked = parser.read(words)
    public = generate(Path(asked.out), _passphrase(asked.passphrase, twice=True), kind=asked.kind)
    print(f"{asked.out}: keep it to yourself. {public}: give it to whoever verifies")
    return 0


def sign_folder(words: Sequence[str]) -> int:
    """Sign a run that has ended."""
    parser = Parser("sign", "Sign a run that has ended.")
    parser.add_argument("folder", metavar="DIR", help="the run's folder")
    parser.add_argument("--key", metavar="KEY.pem", help="the private half: a path or env:NAME")
    _add_passphrase(parser, "of the key; asked for unless env:NAME says where it is")
    parser.add_argument(
        "--also", nargs="*", default=[], metavar="PATTERN", help="files of yours that belong to the run"
    )
    asked = parser.read(words)
    if not Path(asked.folder, JOB).is_file():
        raise RequestError(f"{asked.folder} holds no run: there is no {JOB}.")
    seal, held = _unlock(asked)
    config = Path(asked.folder, JOB).read_text(encoding="utf-8")
    secrets = {**secrets_of(config), **held}
    statement = sign(asked.folder, seal, also=asked.also, secrets=secrets)
    print(f"signed {len(statement.subjects)} files of run {statement.predicate['run_id']}")
    return 0


def verify_folder(words: Sequence[str]) -> int:
    """Verify a run folder against its signed statement; --replay retrains parts of it."""
    asked = _verify_parser().read(words)
    report = verify(asked.folder, asked.key, Expected(asked.run_id, asked.step, asked.attempt))
    if asked.replay and report.verified:
        # Nothing of the run is loaded before everything else about it held.
        # Brings torch with it, which a verification can do without.
        from nimble_lightning.launch.start import start
        from nimble_lightning.replay import retrain

        params = retrain.of_words(asked.params)
        terms = retrain.ReplayTerms(asked.replay, asked.trainer, asked.other_trainer, asked.tolerance, params)
        retrain.replay(Path(asked.folder).resolve(), report, terms, start)
    _tell(report, as_json=asked.json)
    return 0 if report.verified else _NOT_VERIFIED


def _verify_parser() -> Parser:
    parser = Parser(
        "verify", "Verify a run folder against its signed statement; --replay retrains parts of it."
    )
    parser.add_argument("folder", metavar="DIR", help="the run's folder, or a copy of it")
    parser.add_argument("--key", required=True, metavar="PUB", help="the public half: a path or env:NAME")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--run-id", metavar="ID", help="refuse any other run")
    parser.add_argument("--step", type=int, default=0, help="refuse a run that has not come this far")
    parser.add_argument("--attempt", type=int, default=0, help="refuse a run with fewer starts")
    again = parser.add_argument_group("training parts of it again")
    again.add_argument("--replay", type=int, default=0, metavar="N", help="how many stretches")
    again.add_argument("--trainer", metavar="FILE", help="where the trainer's file is now")
    again.add_argument("--other-trainer", action="store_true", help="it need not be the one that was signed")
    again.add_argument("--tolerance", type=float, default=1e-3, help="on hardware of another class")
    again.add_argument("params", nargs="*", metavar="params.NAME=VALUE", help="where the data are now")
    return parser


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(report.to_json(), indent=2, default=str))
    else:
        print(printable("\n".join(report.lines())), file=sys.stdout if report.verified else sys.stderr)


def _unlock(asked: argparse.Namespace) -> tuple[Any, dict[str, bytes]]:
    """Whatever writes the signature, by the kind of the key; and the passphrase, which is a secret too."""
    phrase = _passphrase(asked.passphrase)
    environment = dict(os.environ)
    if phrase is not None:
        environment["passphrase"] = phrase
    reference = None if phrase is None else f"{FROM_ENVIRONMENT}passphrase"
    oms = asked.key is not None and hasattr(read_private(asked.key, phrase, environment), "curve")
    backend = (OMS if oms else Ed25519)(asked.key, reference, asked.also)
    return backend.unlock(environment), {} if phrase is None else {"the passphrase": phrase.encode()}


def _add_passphrase(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--passphrase", nargs="?", const=_ASK, metavar="env:NAME", help=text)


def _passphrase(asked: str | None, *, twice: bool = False) -> str | None:
    if asked != _ASK:
        return resolve(asked)
    if not sys.stdin.isatty():
        raise RequestError("There is no terminal to ask for a passphrase: --passphrase env:NAME")
    phrase = getpass.getpass("passphrase: ")
    if twice and getpass.getpass("again: ") != phrase:
        raise RequestError("The two passphrases differ.")
    return phrase or None
