"""Hydra's own sweeper, less the time it takes to compose every member before the first may start."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.plugins import Plugins

# Looking for plugins runs their modules once more: not after a class of one of them has become a base.
Plugins.instance()

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402


class Grid(BasicSweeper):
    """Every combination of the values that are listed."""

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose one of those members that differ in values only: if it can be composed, the others can.

        A member takes a tenth of a second, for which a large grid would keep every device waiting. What
        values may be was checked before.
        """
        distinct = {tuple(word for word in words if self._decides(word)): words for words in batch}
        super().validate_batch_is_legal(list(distinct.values()))

    def _decides(self, word: str) -> bool:
        """Whether an override may decide which files take part: a group, an addition or a deletion."""
        assert self.config is not None
        key = word.partition("=")[0]
        # A group cannot be added by ++, which is how values are handed on.
        may = key.startswith(("+", "~")) and not key.startswith("++")
        return may or key.partition("@")[0] in self.config.hydra.runtime.choices
