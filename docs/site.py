"""What `make docs` adds to the pages here: the front page, all settings, and the files that pages link to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Out of this folder: in the manual such a file has a place of its own.
_ELSEWHERE = re.compile(r"\]\(\.\./([^)#]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """The front page is the README; the settings are the files they are read from."""
    linked = {"CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"}
    for page in (ROOT / "docs").glob("*.md"):
        linked |= set(_ELSEWHERE.findall(page.read_text()))
    for name in sorted(linked):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "index.md", content=_front_page()))
    files.append(File.generated(config, "settings.md", content=_settings()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files outside of the folder lead to where these are in the manual."""
    return _ELSEWHERE.sub(r"](\1)", markdown)


def _front_page() -> str:
    return (ROOT / "README.md").read_text().replace("](docs/", "](")


def _settings() -> str:
    parts = [
        "# All settings",
        "Each can be set on the command line (`data.batch_size=64`), in an `experiment` file, by `nl.run`. "
        "A group is a folder from which one file is chosen (`optim=sgd`), or several "
        "(`logger=[jsonl,tensorboard]`).",
        _file(ROOT / "conf" / "config.yaml"),
    ]
    for group in sorted(path for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "hydra"):
        parts.append(f"## {group.name}")
        for path in sorted(group.rglob("*.yaml")):
            parts += [f"### {group.name}={path.relative_to(group).with_suffix('')}", _file(path)]
    return "\n\n".join(parts)


def _file(path: Path) -> str:
    return f"```yaml\n{path.read_text().rstrip()}\n```"
