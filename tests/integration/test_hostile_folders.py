"""Whoever looks at a folder from a stranger runs nothing of it, opens nothing beside it, sends nothing of his
own, and is not kept waiting."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import resource
import shutil
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import hostile_folders
import pytest
from hostile_folders import CASES, PRIVATE, SECRET, VARIABLE, Place

import nimble_lightning as nl
from nimble_lightning.commands import main
from nimble_lightning.errors import NimbleError
from nimble_lightning.notifications.services import VARIABLE as URLS
from nimble_lightning.worker.server import forkserver

TRAINER = Path(__file__).parents[1] / "helpers" / "export_trainers.py"
# Of one command, on a machine where others work as well.
SECONDS = 60
# Of an export, which is checked by processes of its own.
EXPORT_SECONDS = 300
MEMORY = 3 << 30
# The product of all cases with all commands is for a quiet hour.
FEW = ("report", "usage", "notify", "load", "verify")
TOLD = ("notify elsewhere",)
# Of each kind of thing that was not so, some; all are looked at where there is time.
QUICK = (
    "address_with_a_variable",
    "address_as_default",
    "address_in_a_private_file",
    "picture_by_its_path",
    "outbox_is_elsewhere",
    "lock_is_a_link",
    "facts_of_another_kind",
    "trainer_is_a_function",
    "trainer_comes_along",
    "data_are_a_process",
    "parameter_is_a_target",
    "run_is_a_reference",
    "settings_too_deep",
    "settings_that_multiply",
    "settings_are_a_link",
    "best_is_elsewhere",
    "checkpoints_are_elsewhere",
    "record_is_a_pipe",
    "record_of_another_kind",
    "record_beyond_all_numbers",
    "metrics_have_no_end",
    "metrics_of_another_kind",
    "account_of_another_kind",
    "errors_are_elsewhere",
    "error_of_another_kind",
    "escapes_everywhere",
    "page_to_be_is_a_link",
    "statement_is_a_pipe",
    "stranger_has_no_end",
    "weights_are_a_program",
)
_PR_SET_CHILD_SUBREAPER = 36
# Of inotify: opened, changed, moved, made or removed.
_TOUCHED = 0x20 | 0x2 | 0xC0 | 0x100 | 0x200
_NO_TERMINAL = [chr(number) for number in (*range(9), *range(11, 32), 127, *range(128, 160), 0x202E, 0x2066)]


def commands(folder: Path, key: str, mine: Path) -> dict[str, Callable[[], object]]:
    """What is done with a folder by somebody who trusts nothing in it."""

    def cli(*words: str, **variables: str) -> Callable[[], int]:
        def act() -> int:
            os.environ.update(variables)
            try:
                return main.main([word.replace("DIR", str(folder)) for word in words])
            finally:
                for name in variables:
                    os.environ.pop(name)

        return act

    good = os.environ.get("GOOD", "")
    out = str(folder.with_name("out"))
    return {
        "report": cli("report", "DIR"),
        "usage": cli("usage", "DIR"),
        "usage --send": cli("usage", "DIR", "--send"),
        "notify": cli("notify", "DIR"),
        "notify elsewhere": cli("notify", "DIR", **{URLS: good}),
        "notify --test": cli("notify", "--test", "DIR"),
        "export": cli("export", "DIR", "--to", "safetensors", "--out", out),
        "export --trainer": cli(
            "export", "DIR", "--to", "safetensors", "--out", out, "--trainer", f"{mine}:Mlp"
        ),
        "load": lambda: nl.load(folder),
        "load with a trainer": lambda: nl.load(folder, trainer=f"{mine}"),
        "evaluate": cli("evaluate", "DIR"),
        "evaluate --trainer": cli("evaluate", "DIR", "--trainer", f"{mine}:Mlp"),
        "verify": cli("verify", "DIR", "--key", key),
        "check": cli("check", "DIR"),
    }


class _Catcher(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(f"{self.path} {body.decode(errors='replace')}")  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    do_GET = do_PUT = do_POST

    def log_message(self, *words: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def requests() -> Iterator[tuple[int, list[str]]]:
    """A port at which a stranger and a friend listen, and what they were sent."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Catcher)
    server.daemon_threads = True
    server.requests = []  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    yield server.server_port, server.requests  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    serving.join()


@dataclass(frozen=True)
class Run:
    """A signed run, the key to verify it with, and its trainer."""

    folder: Path
    key: str
    trainer: Path


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("honest")
    mine = Path(shutil.copy(TRAINER, place / "mine.py"))
    with open(mine, "a") as file:
        file.write("\nfrom subprocess import Popen, getoutput  # noqa\n")
    result = nl.run(
        f"{mine}:Mlp",
        launch="inline",
        run_id="first",
        output_dir=str(place / "outputs"),
        callbacks={"progress": None, "usage_report": {"grid": "DE"}},
        lightning={"max_epochs": 1, "accelerator": "cpu"},
    )
    assert result.status == "finished"
    main.main(["keygen", "--out", str(place / "key.pem")])
    assert main.main(["sign", str(result.folder), "--key", str(place / "key.pem")]) == 0
    return Run(result.folder, str(place / "key.pub.pem"), mine)


@dataclass
class Outcome:
    """What came of looking at a folder.

    Attributes:
        place: The folder and what lies beside it.
        ended: How each command ended, by its name: what it returned, or what was raised.
        said: What was printed.
        opened: What lies outside and was opened or changed.
        requests: What was sent to anybody.
    """

    place: Place
    ended: dict[str, str] = field(default_factory=dict)
    said: str = ""
    opened: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Look:
    """Everything that a process is told that looks at a folder."""

    name: str
    folder: Path
    key: str
    mine: Path
    commands: tuple[str, ...]
    good: str


def looked_at(
    looks: Mapping[str, tuple[Place, tuple[str, ...]]], run: Run, requests: list[str]
) -> dict[str, Outcome]:
    """Run commands on folders in a process of its own, as a person would one after the other."""
    forkserver.start("")
    orders = [
        Look(name, place.folder, run.key, run.trainer, wanted, f"json://127.0.0.1:{place.port}/good-{name}")
        for name, (place, wanted) in looks.items()
    ]
    process = multiprocessing.get_context("forkserver").Process(target=_look_at_all, args=(orders,))
    outside = {place.outside / part: name for name, (place, _) in looks.items() for part in ("", "inside")}
    with watched(outside) as opened, forkserver.without_main():
        process.start()
        process.join(sum(EXPORT_SECONDS + SECONDS * len(wanted) for _, wanted in looks.values()))
        process.kill()
        process.join()
    outcomes = {}
    for name, (place, wanted) in looks.items():
        told = _told(place.folder)
        ended = json.loads(told.read_text()) if told.exists() else {}
        said = _said(place.folder).read_text(errors="replace") if told.exists() else ""
        outcomes[name] = Outcome(
            place,
            {command: ended.get(command, "did not end") for command in wanted},
            said,
            opened[name],
            [r for r in requests if r.split()[0].split("/")[1].partition("-")[2] == name],
        )
    return outcomes


def _said(folder: Path) -> Path:
    return folder.parents[2] / "said"


def _told(folder: Path) -> Path:
    return folder.parents[2] / "told.json"


class _TooLong(BaseException):
    """Nothing catches this by mistake."""


def _too_long(*_: Any) -> None:
    raise _TooLong


def _look_at_all(looks: Sequence[Look]) -> None:
    # What a command leaves behind to send pictures is waited for as well.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    for look in looks:
        _look_at(look)
    until = time.monotonic() + SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            os.waitpid(-1, os.WNOHANG)
            time.sleep(0.02)


def _look_at(look: Look) -> None:
    os.environ.update({VARIABLE: SECRET, "GOOD": look.good})
    os.environ.pop(URLS, None)
    out = os.open(_said(look.folder), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    os.close(out)
    os.chdir(look.folder.parent)
    ended = {}
    every = commands(look.folder, look.key, look.mine)
    for name in look.commands:
        signal.alarm(EXPORT_SECONDS if name.startswith("export") else SECONDS)
        try:
            ended[name] = str(every[name]())
        except _TooLong:
            ended[name] = "too long"
            traceback.print_exc()
        except (NimbleError, SystemExit) as error:
            ended[name] = f"refused: {error}"
        except BaseException as error:
            ended[name] = f"crashed: {type(error).__name__}: {str(error)[:200]}"
            traceback.print_exc()
        signal.alarm(0)
        sys.stdout.flush()
        sys.stderr.flush()
        _told(look.folder).write_text(json.dumps(ended))


@contextlib.contextmanager
def watched(folders: Mapping[Path, str]) -> Iterator[dict[str, list[str]]]:
    """What is opened or changed in folders meanwhile, by what they are called: as the kernel tells it."""
    libc, found = ctypes.CDLL(None, use_errno=True), {name: list[str]() for name in folders.values()}
    notes = libc.inotify_init1(os.O_NONBLOCK)
    known = {libc.inotify_add_watch(notes, os.fsencode(path), _TOUCHED): path for path in folders}
    try:
        yield found
    finally:
        data = b""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(notes, 1 << 16):
                data += more
        os.close(notes)
        while data:
            which, _, _, length = struct.unpack_from("iIII", data)
            path, name = known[which], data[16 : 16 + length].rstrip(b"\0").decode()
            found[folders[path]].append(f"{path.name}/{name}")
            data = data[16 + length :]


def copied(run: Run, tmp_path: Path, port: int, name: str) -> Place:
    folder = tmp_path / name / "outputs" / "mine" / "first"
    shutil.copytree(run.folder, folder)
    return Place(folder, hostile_folders.outside(tmp_path / name / "outside"), port, name)


def faults(outcome: Outcome) -> list[str]:
    """Everything that a folder made happen."""
    place = outcome.place
    found = [
        f"{name}: {how}" for name, how in outcome.ended.items() if how.startswith(("crash", "too", "did"))
    ]
    found += [f"opened {name}" for name in outcome.opened]
    found += ["executed"] if (place.outside / "executed").exists() else []
    found += [f"sent {r[:200]}" for r in outcome.requests if not r.startswith("/good")]
    pages = [p.read_text() for p in place.folder.parent.rglob("report.html") if not p.is_symlink()]
    told = [outcome.said, *outcome.requests, *pages]
    found += [f"told {canary}" for canary in (SECRET, PRIVATE) if any(canary in text for text in told)]
    found += [f"printed {c!r}" for c in _NO_TERMINAL if c in outcome.said]
    return found


def all_of(
    names: Sequence[str], run: Run, catcher: tuple[int, list[str]], tmp_path: Path, every: bool
) -> dict[str, Outcome]:
    looks = {}
    for name in names:
        place = copied(run, tmp_path, catcher[0], name)
        CASES[name](place)
        # Sending takes its time; what is told depends on what is shown and what has happened.
        telling = any(
            (place.folder / part).is_symlink() or (place.folder / part).exists() for part in ("show",)
        )
        wanted = (
            tuple(commands(place.folder, "", run.trainer)) if every else (*FEW, *(TOLD if telling else ()))
        )
        looks[name] = place, wanted
    return looked_at(looks, run, catcher[1])


@pytest.fixture(scope="module")
def outcomes(
    honest: Run,
    requests: tuple[int, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> dict[str, Outcome]:
    """Of the cases that are asked for, looked at one after the other by one process."""
    names = asked(request, test_a_folder_from_a_stranger_does_nothing)
    return all_of(names, honest, requests, tmp_path_factory.mktemp("hostile"), every=False)


def asked(request: pytest.FixtureRequest, test: Callable[..., None]) -> list[str]:
    """The cases of a test that are to run."""
    items = {item.name for item in request.session.items}
    return [name for name in CASES if f"{test.__name__}[{name}]" in items]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in CASES]
)
def test_a_folder_from_a_stranger_does_nothing(name: str, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[name]
    assert not faults(outcome), f"{outcome.ended}\n{outcome.said[-3000:]}"


@pytest.fixture(scope="module")
def thorough(
    honest: Run,
    requests: tuple[int, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> dict[str, Outcome]:
    names = asked(request, test_whatever_is_done_with_it)
    return all_of(names, honest, requests, tmp_path_factory.mktemp("thorough"), every=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_whatever_is_done_with_it(name: str, thorough: dict[str, Outcome]) -> None:
    outcome = thorough[name]
    assert not faults(outcome), f"{outcome.ended}\n{outcome.said[-3000:]}"


def test_an_honest_one_is_looked_at_as_ever(
    honest: Run, requests: tuple[int, list[str]], tmp_path: Path
) -> None:
    place = copied(honest, tmp_path, requests[0], "honest")
    names = (
        "verify",
        "report",
        "usage",
        "notify elsewhere",
        "load",
        "load with a trainer",
        "evaluate --trainer",
    )
    outcome = looked_at({"honest": (place, names)}, honest, requests[1])["honest"]
    assert not faults(outcome), outcome
    assert [outcome.ended[name] for name in names[:4]] == ["0"] * 4, outcome
    assert "trust=True" in outcome.ended["load"]
    assert outcome.ended["load with a trainer"].startswith("Sequential")
    assert outcome.ended["evaluate --trainer"] == "0"
    assert any("mine finished" in request for request in outcome.requests)
