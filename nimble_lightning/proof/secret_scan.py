"""Secrets that must not be in a folder before it is handed to others with a signature on it."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from nimble_lightning.ops.plain_files import open_plain
from nimble_lightning.ops.secrets import known

_REFERENCE = re.compile(r"\$\{oc\.env:\s*['\"]?([A-Za-z_]\w*)|(?<![\w.])env:([A-Za-z_]\w*)")
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_CHUNK = 4 << 20
_LARGEST_HEADER = 100 << 20
# Shorter ones are settings (a port, a name), and would be found everywhere.
_SHORTEST = 8
_HARMLESS = ("HOME", "PWD", "USER", "LOGNAME", "HOSTNAME", "PATH", "SHELL", "TMPDIR", "SCRATCH", "LANG")


def secrets_of(config: str, environment: Mapping[str, str] = os.environ) -> dict[str, bytes]:
    """The secrets by name: those a configuration refers to, and others that are known."""
    names = {first or second for first, second in _REFERENCE.findall(config)}
    values = {name: environment.get(name, "").strip() for name in sorted(names) if name not in _HARMLESS}
    others = sorted(known() - set(values.values()))
    values.update({f"secret {number}": value for number, value in enumerate(others, start=1)})
    return {name: v.encode() for name, v in values.items() if len(v) >= _SHORTEST and not os.path.exists(v)}


def find(folder: Path, names: Iterable[str], secrets: Mapping[str, bytes]) -> list[str]:
    """Where a secret, or any private key, lies open: one sentence each, without the secret."""
    found = []
    for name in names:
        for what in _in_file(folder / name, secrets):
            found.append(f"{name} holds {what}")
    return found


def _in_file(path: Path, secrets: Mapping[str, bytes]) -> list[str]:
    with open_plain(path) as file:
        if zipfile.is_zipfile(file):
            return sorted({what for stream in _texts(file) for what in _in_stream(stream, secrets)})
        file.seek(0)
        if path.suffix == ".safetensors":
            # A header of that length, then nothing but numbers.
            length = int.from_bytes(file.read(8), "little")
            return sorted(_in_text(file.read(min(length, _LARGEST_HEADER)), secrets))
        return _in_stream(file, secrets)


def _texts(file: Any) -> Iterator[IO[bytes]]:
    """What a checkpoint holds besides the numbers of its tensors."""
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if "/data/" not in entry.filename:
                    with archive.open(entry) as stream:
                        yield stream
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError):
        file.seek(0)
        yield file


def _in_stream(stream: IO[bytes], secrets: Mapping[str, bytes]) -> list[str]:
    overlap = max([128, *map(len, secrets.values())])
    found, tail = set(), b""
    while chunk := stream.read(_CHUNK):
        text = tail + chunk
        found |= set(_in_text(text, secrets))
        tail = text[-overlap:]
    return sorted(found)


def _in_text(text: bytes, secrets: Mapping[str, bytes]) -> Sequence[str]:
    found = [f"the value of {name}" for name, value in secrets.items() if value in text]
    return [*found, "a private key"] if _PRIVATE_KEY.search(text) else found
