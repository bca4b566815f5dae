"""What every way to sign a run has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nimble_lightning.proof.keys import FROM_ENVIRONMENT

# Writes a statement and its signature into a folder.
Seal = Callable[[Path, bytes], None]


class Backend:
    """A way to sign a run.

    Args:
        key: The private key: a path, or `env:NAME` for a variable that holds it.
        passphrase: `env:NAME`, the variable that holds it.
        also: Files of yours in the run folder that shall be signed as well: `notes/`, `*.png`.
        keep_stretches: How many pairs of neighbouring commits, from anywhere in the run, are kept for
            whoever wants to train a stretch of it again. The two newest commits always are.
    """

    def __init__(
        self,
        key: str | None = None,
        passphrase: str | None = None,
        also: Sequence[str] = (),
        keep_stretches: int = 0,
    ) -> None:
        self.key = key
        self.passphrase = passphrase
        self.also = tuple(also)
        self.keep_stretches = keep_stretches

    @property
    def variables(self) -> list[str]:
        """Of the environment, which no worker may see."""
        references = (self.key, self.passphrase)
        return [r.removeprefix(FROM_ENVIRONMENT) for r in references if r and r.startswith(FROM_ENVIRONMENT)]
