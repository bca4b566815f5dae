"""Conversations from files, in whichever of the usual formats; what is refused is named by file and line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nimble_lightning.errors import RequestError

_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
}
_SUFFIXES = (".jsonl", ".json", ".parquet")
_SOURCE_KEYS = ("path", "weight")
FORMATS = (
    "messages: [{role, content}], conversations: [{from, value}] (ShareGPT), instruction/input/output "
    "(Alpaca), prompt/completion"
)


@dataclass(frozen=True)
class Conversation:
    """What was said, and where it is from, as `file:line`."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None
    place: str


@dataclass(frozen=True)
class Source:
    """A file of conversations, and how often it is taken."""

    path: Path
    weight: float = 1.0


def sources_of(data: Any) -> list[Source]:
    """The files that `data` names: a file, a folder of them, or a list of either, each with a weight.

    Raises:
        RequestError: One is not there, or not said as expected.
    """
    found: list[Source] = []
    for entry in data if isinstance(data, Sequence) and not isinstance(data, str) else [data]:
        told = dict(entry) if isinstance(entry, Mapping) else {"path": entry}
        if unknown := next((key for key in told if key not in _SOURCE_KEYS), None):
            near = get_close_matches(str(unknown), _SOURCE_KEYS)
            raise RequestError(f"data has no {unknown!r}" + (f"; did you mean {near[0]}?" if near else ""))
        if not isinstance(told.get("path"), str | Path):
            raise RequestError(f"data={entry!r}: expected a path, or {{path: FILE, weight: NUMBER}}")
        weight = told.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight <= 0:
            raise RequestError(f"data: the weight of {told['path']} is {weight!r}, expected a number above 0")
        found += [Source(path, float(weight)) for path in _files(Path(told["path"]).expanduser())]
    return found


def read(path: Path) -> Iterator[Conversation]:
    """The conversations of a file, in its order.

    Raises:
        RequestError: A line is none, or of no format that is known.
    """
    for place, row in rows_of(path):
        yield conversation_of(row, place)


def conversation_of(row: Mapping[str, Any], place: str) -> Conversation:
    """A row as a conversation.

    Raises:
        RequestError: It is none, or of no format that is known.
    """
    return Conversation(*_conversation(row, place), place)


def said(role: str, text: Any) -> list[Any]:
    """A text as a turn of who says it; turns as they are."""
    return list(text) if isinstance(text, list | tuple) else [{"role": role, "content": text}]


def rows_of(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row of a file with where it is."""
    rows = _parquet(path) if path.suffix == ".parquet" else _json(path)
    for place, row in rows:
        if not isinstance(row, Mapping):
            raise RequestError(f"{place}: a {type(row).__name__}, expected an object with {FORMATS}")
        yield place, row


def turns_of(turns: Sequence[Any], place: str) -> list[dict[str, Any]]:
    """Turns in one form, whatever they call who speaks.

    Raises:
        RequestError: One is none.
    """
    return [_turn(turn, place, number) for number, turn in enumerate(turns, 1)]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
        if not found:
            raise RequestError(f"data={path} holds no {', '.join(_SUFFIXES)}")
        return found
    if not path.is_file():
        beside = [file.name for file in path.parent.glob("*")] if path.parent.is_dir() else []
        near = get_close_matches(path.name, beside)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise RequestError(f"data={path}: there is no such file{hint}")
    if path.suffix not in _SUFFIXES:
        raise RequestError(f"data={path}: expected a file ending in {', '.join(_SUFFIXES)}")
    return [path]


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    with open(path, encoding="utf-8") as lines:
        if path.suffix == ".json" or path.stat().st_size == 0:
            content = _parsed(lines.read(), f"{path}:1") if path.stat().st_size else []
            rows = content if isinstance(content, list) else [content]
            yield from ((f"{path}[{number}]", row) for number, row in enumerate(rows))
            return
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield f"{path}:{number}", _parsed(line, f"{path}:{number}")


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{place} is not JSON: {error}") from None


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow.parquet as pq

    number = 0
    for batch in pq.ParquetFile(path).iter_batches():
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", _without_nulls(row)


def _without_nulls(value: Any) -> Any:
    """Parquet gives every row of a column all keys that any of them has."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _conversation(row: Mapping[str, Any], place: str) -> tuple[list[dict[str, Any]], list[Any] | None]:
    tools = row.get("tools")
    turns = next((row[name] for name in ("messages", "conversations", "conversation") if name in row), None)
    if turns is not None:
        if not isinstance(turns, list) or not turns:
            raise RequestError(f"{place}: no list of turns")
        return turns_of(turns, place), tools
    if "instruction" in row and "output" in row:
        asked = "\n\n".join(filter(None, [str(row["instruction"]), str(row.get("input") or "")]))
        before = [{"role": "system", "content": str(row["system"])}] if row.get("system") else []
        answer = {"role": "assistant", "content": row["output"]}
        return turns_of([*before, *said("user", asked), answer], place), tools
    if "prompt" in row and "completion" in row:
        turns = [*said("user", row["prompt"]), *said("assistant", row["completion"])]
        return turns_of(turns, place), tools
    raise RequestError(
        f"{place}: of no known format, it has {', '.join(map(str, row)) or 'nothing'}\nKnown are {FORMATS}"
    )


def _turn(turn: Any, place: str, number: int) -> dict[str, Any]:
    where = f"{place}: turn {number}"
    if not isinstance(turn, Mapping):
        raise RequestError(f"{where} is a {type(turn).__name__}, expected {{role, content}}")
    told = turn.get("role", turn.get("from"))
    role = _ROLES.get(str(told).lower())
    if role is None:
        raise RequestError(
            f"{where} is by {told!r}, expected one of {', '.join(dict.fromkeys(_ROLES.values()))}"
        )
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        if other := next(
            (part for part in content if not isinstance(part, Mapping) or "text" not in part), None
        ):
            kind = other.get("type") if isinstance(other, Mapping) else type(other).__name__
            raise RequestError(f"{where} holds a part of type {kind!r}; only texts are learned here")
        content = "".join(str(part["text"]) for part in content)
    if content is None and not turn.get("tool_calls"):
        raise RequestError(f"{where} says nothing: it has neither content nor tool_calls")
    kept = {key: value for key, value in turn.items() if key not in ("from", "value", "role", "content")}
    return {**kept, "role": role, "content": "" if content is None else str(content)}
