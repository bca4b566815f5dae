"""What a machine found out about an attempt, as words for the one that leads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from nimble_lightning.runs.heartbeat import Beat, Phase
from nimble_lightning.runs.outcome import Evidence
from nimble_lightning.supervision.watchdog import Hang


def in_words(evidence: Evidence) -> dict[str, Any]:
    """Evidence as plain values. Disks that are shared show new files late, so what ranks wrote is in it."""
    return asdict(evidence)


def of_words(words: Mapping[str, Any]) -> Evidence:
    """The same again: JSON knows numbers as keys only in quotes."""
    beats = {
        int(rank): Beat(**{**beat, "phase": Phase(beat["phase"])}) for rank, beat in words["beats"].items()
    }
    numbered = {
        name: {int(rank): value for rank, value in words[name].items()}
        for name in ("exit_codes", "gone", "lost")
    }
    hang = None if words["hang"] is None else Hang(**words["hang"])
    return Evidence(**{**words, **numbered, "beats": beats, "hang": hang})


def together(findings: Iterable[Evidence]) -> Evidence:
    """What several machines know of one attempt. Of several that hang, the first makes the others wait."""
    every = list(findings)
    hangs = [one.hang for one in every if one.hang is not None]
    return Evidence(
        finished=any(one.finished for one in every),
        errors=[error for one in every for error in one.errors],
        exit_codes={rank: code for one in every for rank, code in one.exit_codes.items()},
        beats={rank: beat for one in every for rank, beat in one.beats.items()},
        gone={rank: at for one in every for rank, at in one.gone.items()},
        hang=max(hangs, key=lambda hang: hang.seconds, default=None),
        out_of_memory=any(one.out_of_memory for one in every),
        trouble=next((one.trouble for one in every if one.trouble), None),
        lost={rank: host for one in every for rank, host in one.lost.items()},
    )


def of_lost(ranks: Iterable[int], host: str) -> Evidence:
    """All there is to know of the ranks of a machine that is gone: it was the first thing that happened."""
    lost = dict.fromkeys(ranks, host)
    return Evidence(lost=lost, gone=dict.fromkeys(lost, 0.0))
