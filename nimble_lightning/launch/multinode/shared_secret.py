"""What the nodes of a run prove each other: that they can read its folder. Nobody else is listened to."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from base64 import b64decode, b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.distributed import Store
from torch.distributed.elastic.rendezvous.api import RendezvousStateError
from torch.distributed.elastic.rendezvous.dynamic_rendezvous import RendezvousBackend, Token
from typing_extensions import override

from nimble_lightning.errors import NimbleError

_MAC = hashlib.sha256().digest_size


class ForgedError(NimbleError):
    """Somebody without the secret has written where the nodes of a run meet."""


class SharedSecret:
    """Signs what is said under a name, so that it can be neither made up nor moved to another name.

    Args:
        key: Known to the nodes of one run.
        meeting: What was said in one means nothing in another.
    """

    def __init__(self, key: bytes, meeting: str = "") -> None:
        self._key = key
        self._meeting = meeting

    @classmethod
    def in_file(cls, path: Path) -> SharedSecret:
        """The one in a file of the shared folder, which the first node makes and only its user can read."""
        own = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        # Whole or not at all, also on a network disk: the first link counts.
        with suppress(FileExistsError):
            os.link(own, path)
        own.unlink()
        return cls(bytes.fromhex(path.read_text()))

    def of(self, meeting: str) -> SharedSecret:
        """The same for one meeting."""
        return SharedSecret(self._key, meeting)

    def sign(self, name: str, content: bytes) -> bytes:
        return self._mac(name, content) + content

    def verified(self, name: str, signed: bytes) -> bytes:
        """What was signed.

        Raises:
            ForgedError: Not by a node of this run, or under another name.
        """
        mac, content = signed[:_MAC], signed[_MAC:]
        if not hmac.compare_digest(mac, self._mac(name, content)):
            raise ForgedError(
                "Somebody who does not have the secret of this run writes where its nodes meet. Let nobody "
                "else reach that port, or choose another: launch.rdzv_endpoint=HOST:PORT."
            )
        return content

    def _mac(self, name: str, content: bytes) -> bytes:
        about = b"\0".join(part.encode() for part in (self._meeting, name))
        return hmac.digest(self._key, len(about).to_bytes(4) + about + content, "sha256")


class SignedStore:
    """Plain data by name in a store that others may reach.

    Args:
        store: Of a meeting.
        secret: Of those that meet.

    Attributes:
        secret: The same.
    """

    def __init__(self, store: Store, secret: SharedSecret) -> None:
        self._store = store
        self.secret = secret

    def set(self, name: str, value: Any) -> None:
        signed = self.secret.sign(name, json.dumps(value).encode())
        self._store.set(name, b64encode(signed).decode())

    def get(self, name: str) -> Any:
        """Wait until there is a value of that name.

        Raises:
            ForgedError: It is by somebody else.
        """
        return json.loads(self.secret.verified(name, b64decode(self._store.get(name))))

    def find(self, name: str) -> Any:
        """The value of a name, or None where there is none yet."""
        return self.get(name) if self._store.check([name]) else None


class SignedBackend(RendezvousBackend):
    """A place of meeting whose state, which every node unpickles, is verified before.

    Args:
        backend: Torch's.
        secret: Of the nodes.
    """

    def __init__(self, backend: RendezvousBackend, secret: SharedSecret) -> None:
        self._backend = backend
        self._secret = secret

    @property
    @override
    def name(self) -> str:
        return self._backend.name

    @override
    def get_state(self) -> tuple[bytes, Token] | None:
        found = self._backend.get_state()
        return None if found is None else (self._verified(found[0]), found[1])

    @override
    def set_state(self, state: bytes, token: Token | None = None) -> tuple[bytes, Token, bool] | None:
        found = self._backend.set_state(self._secret.sign("state", state), token)
        return None if found is None else (self._verified(found[0]), *found[1:])

    def _verified(self, state: bytes) -> bytes:
        try:
            return self._secret.verified("state", state)
        except ForgedError as error:
            # Torch looks from a thread of its own as well, where it expects this one.
            raise RendezvousStateError(str(error)) from None
