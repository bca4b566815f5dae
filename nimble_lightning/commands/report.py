"""`nimble-cli report DIR`: the page of a run, of a sweep, or of any folder in which metrics were logged."""

from __future__ import annotations

from pathlib import Path

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.ops.untrusted_text import printable
from nimble_lightning.run_folder import GPU_SAMPLES, RECORD, USAGE

_USAGE = "nimble-cli report DIR"
_OTHERS = (GPU_SAMPLES, USAGE)


def report(words: list[str]) -> int:
    """Write the page of each folder and say where it is."""
    parser = Parser(
        "report", "Write the HTML page of a run, of a sweep, or of any folder with logged metrics."
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", help="of a run, of a sweep, or a logger's")
    for word in parser.read(words).folders:
        try:
            print(printable(str(written(Path(word)))))
        except OSError as error:
            raise NimbleError(f"{word}: the page cannot be written: {error.strerror}") from None
    return 0


def written(folder: Path) -> Path:
    """The page of a folder, whatever it is.

    Raises:
        RequestError: There is nothing in it to make a page of.
    """
    from nimble_lightning.report import build, build_sweep
    from nimble_lightning.report.folder_source import members_of

    if not folder.is_dir():
        raise RequestError(f"there is no folder {folder}; expected a run's, as in {_USAGE}")
    if (folder / RECORD).exists():
        return build(folder)
    if members := members_of(folder):
        for member in members:
            build(member)
        return build_sweep(folder)
    return build(_logged(folder))


def _logged(folder: Path) -> Path:
    """Where a Lightning project logged: the folder itself, else the newest one in it."""
    from nimble_lightning.report.folder_source import METRICS

    if any((folder / name).exists() for name in (*METRICS, *_OTHERS)):
        return folder
    found = [path for name in METRICS for path in folder.glob(f"**/{name}")]
    if not found:
        raise RequestError(
            f"{folder} holds no run: expected {RECORD}, {' or '.join(METRICS)} in it or below\n"
            "Log with nimble_lightning.loggers.JSONLLogger or Lightning's CSVLogger to get one"
        )
    return max(found, key=lambda path: (path.stat().st_mtime, str(path))).parent
