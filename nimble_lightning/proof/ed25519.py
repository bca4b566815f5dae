"""`signature=ed25519`: the statement in a DSSE envelope, signed with an Ed25519 key."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from nimble_lightning.ops import plain_files
from nimble_lightning.proof.backend import Backend, Seal
from nimble_lightning.proof.envelope import seal
from nimble_lightning.proof.keys import generate, private_key, resolve
from nimble_lightning.run_folder import STATEMENT

log = logging.getLogger(__name__)

HOME_KEY = Path("~/.config/nimble_lightning/key.pem")


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
