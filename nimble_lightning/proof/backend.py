"""What every way to sign a run has in common, and `signature=ed25519`: a DSSE envelope, signed with a key."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nimble_lightning.ops import plain_files
from nimble_lightning.proof.envelope import seal
from nimble_lightning.proof.keys import FROM_ENVIRONMENT, generate, private_key, resolve
from nimble_lightning.run_folder import STATEMENT

# Writes a statement and its signature into a folder.
Seal = Callable[[Path, bytes], None]


log = logging.getLogger(__name__)
HOME_KEY = Path("~/.config/nimble_lightning/key.pem")


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


class Ed25519(Backend):
    """How a run is signed; without a key, with one of your own.

    It is in `~/.config/nimble_lightning/key.pem`, and made when it is first needed.
    """

    def unlock(self, environment: Mapping[str, str] = os.environ) -> Seal:
        """Read the key, so that whatever is wrong with it is said before the run, not after."""
        key = private_key(self._reference(), resolve(self.passphrase, environment), environment)

        def write(folder: Path, statement: bytes) -> None:
            plain_files.replace(folder / STATEMENT, seal(statement, key))

        return write

    def _reference(self) -> str:
        if self.key is not None:
            return self.key
        home = HOME_KEY.expanduser()
        if not home.exists():
            public = generate(home)
            log.warning("made a key to sign with, %s; whoever verifies needs %s", home, public)
        return str(home)
