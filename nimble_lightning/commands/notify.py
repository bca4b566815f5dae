"""`nimble-cli notify`: try the addresses, or deliver what a run could not."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import RequestError
from nimble_lightning.notifications import send_one
from nimble_lightning.notifications.addresses import Address, find
from nimble_lightning.notifications.delivery_plan import Batch
from nimble_lightning.notifications.message_writer import Message
from nimble_lightning.notifications.outbox import OutboxLock
from nimble_lightning.notifications.sender import LOOK_SECONDS, Sender
from nimble_lightning.notifications.sender_process import settings_of
from nimble_lightning.notifications.services import HOW, VARIABLE, is_address
from nimble_lightning.ops import plain_files, secrets
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.run_folder import EVENTS, JOB
from nimble_lightning.runs.job import Job
from nimble_lightning.settings import NotificationSettings, read

USAGE = "nimble-cli notify DIR [--trust], or nimble-cli notify --test [DIR [--trust] | REFERENCE ...]"
_TRY_SECONDS = 60.0
_VARIABLE = re.compile(r"secret:([A-Za-z_]\w*)|\$\{oc\.env:\s*([A-Za-z_]\w*)\s*\}")
_TEST = Message("A test of nimble_lightning", "If you can read this, runs can tell you how they go.")


def main(words: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0 when everything asked for was delivered."""
    parser = Parser(
        "notify",
        "Send a run's undelivered notifications, or test its addresses.",
        "DIR, or nimble-cli notify --test [DIR | REFERENCE ...]",
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="DIR",
        help="the folder of a run; with --test also secret:NAME and the like",
    )
    parser.add_argument("--test", action="store_true", help="send one message to each address")
    parser.add_argument("--trust", action="store_true", help="take addresses as the folder has them")
    asked = parser.read(words)
    if asked.test:
        return _test(asked.words, asked.trust)
    if len(asked.words) != 1:
        raise RequestError(f"notify needs the folder of a run: {USAGE}")
    return _deliver(Path(asked.words[0]), asked.trust)


def _test(words: Sequence[str], trust: bool) -> int:
    """One message to each address, all at once, and what came of each."""
    folders = [word for word in words if Path(word).is_dir()]
    references = [word.removeprefix("callbacks.notification.urls=") for word in words if word not in folders]
    if any(is_address(reference) for reference in references):
        raise RequestError(f"An address on a command line can be read by everybody on this machine. {HOW}")
    asked = _asked(Path(folders[0]), trust) if folders else NotificationSettings()
    addresses = find(references or asked.urls, asked.events)
    if not addresses:
        raise RequestError(f"There is no address to test. Set {VARIABLE}, or type {USAGE}")
    waiting = [_start(address) for address in addresses]
    answers: dict[str, str] = {}
    while waiting:
        for attempt in list(waiting):
            if (answer := attempt.ended()) is not None:
                answers[attempt.address.key] = answer
                waiting.remove(attempt)
                attempt.close()
        time.sleep(LOOK_SECONDS / 5)
    for address in addresses:
        answer = answers[address.key]
        how = "delivered" if answer == "" else "FAILED   "
        print(printable(f"{how}  {address.label}  {answer.strip()}".rstrip()))
    return 1 if any(answers.values()) else 0


def _start(address: Address) -> send_one.DeliveryAttempt:
    return send_one.start(address, Batch("test", ()), time.time(), lambda: send_one.send(address, _TEST))


def _deliver(folder: Path, trust: bool) -> int:
    if not plain_files.is_inside(folder, folder / EVENTS):
        raise RequestError(f"{folder} holds no outbox: nothing has happened there that could be told.")
    asked = _asked(folder, trust)
    addresses = find(asked.urls, asked.events)
    if not addresses:
        raise RequestError(f"There is no address to deliver to. Set {VARIABLE}: export {VARIABLE}=...")
    with OutboxLock(folder):
        sender = Sender(folder, addresses, settings_of(asked), _say)
        sender.turn(sending=False)
        before = sender.pending
        until = time.monotonic() + _TRY_SECONDS
        while sender.pending and time.monotonic() < until:
            sender.turn()
            time.sleep(LOOK_SECONDS / 5)
        sender.finish_attempts()
    for address in addresses:
        left = sender.lanes[address.key].pending
        print(f"{address.label}: {f'{left} not delivered' if left else 'all delivered'}")
    print(f"{before - sender.pending} of {before} delivered")
    return 1 if sender.pending else 0


def _asked(folder: Path, trust: bool) -> NotificationSettings:
    """The settings of notifications of a run; outside a run of ours, none.

    A folder may come from anybody, and an address is where things are sent: unless it is trusted, all it may
    do is to name variables that hold whole addresses.
    """
    if not (folder / JOB).exists() or os.environ.get(VARIABLE):
        return NotificationSettings()
    job = Job.load(folder)
    if trust:
        block = OmegaConf.select(job.config, "callbacks.notification")
        try:
            given: Any = OmegaConf.to_container(block, resolve=True) if block else {}
            return read(NotificationSettings, given)
        except InterpolationResolutionError as error:
            reason = str(error).splitlines()[0].rpartition(": ")[2].strip('"')
            raise RequestError(
                f"The addresses of this run are not at hand: {reason}. Set it, or {VARIABLE}."
            ) from None
    asked = job.unresolved()
    given = _mapping(_mapping(asked.get("callbacks")).get("notification"))
    urls = given.get("urls") or []
    entries = urls if isinstance(urls, list) else [urls]
    events = given.get("events")
    if not all(
        map(_are_words, (events, *(part for e in entries if isinstance(e, dict) for part in e.values())))
    ):
        raise RequestError(f"{job.folder.job}: what is told to whom is more than lists of words.")
    return NotificationSettings(urls=[_by_name(folder, entry) for entry in entries], events=events)


def _by_name(folder: Path, entry: Any) -> Any:
    """An entry that names a variable, as `secret:NAME`."""
    url = entry.get("url") if isinstance(entry, dict) else entry
    if (found := _VARIABLE.fullmatch(str(url))) is None:
        raise RequestError(
            f"{folder / JOB} has an address that is more than the name of a variable; whoever wrote "
            f"it could have secrets sent to himself. Set {VARIABLE}, or add --trust if the run is your own."
        )
    reference = f"secret:{found[1] or found[2]}"
    return {**entry, "url": reference} if isinstance(entry, dict) else reference


def _are_words(value: Any) -> bool:
    """Whether it is a word, a list of them, or such lists by name."""
    lists = value.values() if isinstance(value, dict) else [value]
    return all(
        isinstance(w, str) for each in lists for w in (each if isinstance(each, list) else [each or ""])
    )


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _say(text: str) -> None:
    print(printable(secrets.redact(text)), file=sys.stderr, flush=True)
