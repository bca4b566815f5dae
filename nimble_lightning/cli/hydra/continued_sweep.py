"""A sweep that is asked for again: members keep their numbers, and settings have to stay what they were."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path

from omegaconf import DictConfig

from nimble_lightning.cli.make_job import make_job
from nimble_lightning.errors import RequestError
from nimble_lightning.run_folder import JOB
from nimble_lightning.sweeps.outcomes import all_kept

# Files of any settings, so that nobody knows what a member has of them.
_ANYTHING = {"experiment", "recipe"}


def numbered(sweep: Path, rows: Sequence[tuple[str, ...]], first: int) -> list[int]:
    """The number of each member: that of the earlier one with the same overrides, else a free one.

    Args:
        sweep: The folder of the sweep.
        rows: What is varied in each; everything, where that is nothing.
        first: The lowest number for one that is new.
    """
    earlier = {outcome.number: frozenset(outcome.overrides) for outcome in all_kept(sweep)}
    left = dict(earlier)
    free = (number for number in count(first) if number not in earlier)
    numbers = []
    for row in map(frozenset, rows):
        number = next((number for number, words in left.items() if _is_same(words, row)), None)
        numbers.append(next(free) if number is None else number)
        left.pop(number, None)
    return numbers


def _is_same(then: frozenset[str], now: frozenset[str]) -> bool:
    """Whether two members are one."""
    one_then, one_now = not _varied(then), not _varied(now)
    return then == now or (one_then and one_now) or (one_now and then < now) or (one_then and now < then)


def _varied(words: Collection[str]) -> set[str]:
    """What is varied in a member with these words; of the only one of a sweep there are all words."""
    keys = {word.partition("=")[0] for word in words}
    return set() if "trainer" in keys else keys


def require_same(sweep: Path, config: DictConfig, words: Collection[str], again: Collection[int]) -> None:
    """Refuse members that differ from the earlier ones in more than what is varied: no table would show it.

    Args:
        sweep: The folder of the sweep.
        config: Of any member as it is asked for now.
        words: What is varied in it.
        again: The members that are asked for once more, and so will be as long as is asked for now.

    Raises:
        RequestError: They do; it is said in what.
    """
    found = [outcome for outcome in all_kept(sweep) if (outcome.folder / JOB).exists()]
    if not found:
        return
    varied = _varied(words) | _varied(found[0].overrides)
    if _ANYTHING & {*varied}:
        return
    from nimble_lightning.runs.job import Job
    from nimble_lightning.runs.request.rerun import refuse
    from nimble_lightning.runs.request.setting_changes import changes

    then = Job.load(found[0].folder).config
    try:
        now = make_job(config, found[0].folder, found[0].number)
    except RequestError:
        # Whatever it is, the member itself is refused for it.
        return
    all_again = {outcome.number for outcome in found} <= set(again)
    kinds = {"another"} if all_again else {"another", "length"}
    differing = [
        change
        for change in changes(then, now.config, now.usual)
        if change.kind in kinds and not any(change.is_in(key) for key in varied)
    ]
    longer = any(change.kind == "length" for change in differing)
    missing = ", and not all of its members are asked for again" if longer else ""
    refuse(differing, f"The sweep {sweep.name} has other settings{missing}", "another sweep: sweep_id=NAME")
