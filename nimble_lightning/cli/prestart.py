"""The server of workers, started before the command is read: it needs longest to be ready."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from nimble_lightning.errors import RequestError
from nimble_lightning.launch.external.detect import found
from nimble_lightning.worker.server.forkserver import start

# With these the workers come from elsewhere, or the server has to be started without a key.
_NOT_WITH = ("launch", "hydra/launcher", "signature", "signature.key", "signature.passphrase")


def begin(words: Sequence[str]) -> None:
    """Start the server if these words look like a run whose workers come from it.

    For a command that is refused, or a run that is finished, it was started for nothing, which costs the time
    of a core: it ends with the command.
    """
    given = {
        key.lstrip("+"): value for key, equals, value in (word.partition("=") for word in words) if equals
    }
    answers = any(word.startswith("-") and word not in ("-m", "--multirun") for word in words)
    if answers or "trainer" not in given or any(key in given for key in _NOT_WITH):
        return
    # What is wrong with the request is said by those who read it.
    with suppress(RequestError):
        if found() is None:
            start(given["trainer"])
