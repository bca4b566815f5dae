"""References to addresses, and the services of Apprise they lead to."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nimble_lightning.errors import RequestError
from nimble_lightning.ops import secrets

VARIABLE = "NIMBLE_NOTIFICATION_URLS"
HOW = (
    "Put it into a variable and write '${oc.env:NAME}', into a file only you can read and write secret:/FILE,"
    f" or leave urls out and set {VARIABLE}."
)

_URL = re.compile(r"[A-Za-z][\w+.-]*://\S+")
_ANY_URL = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"]+")
_FILES = (".yml", ".yaml", ".conf", ".cfg")


def is_address(text: str) -> bool:
    """Whether this is an address itself rather than a reference to one."""
    return _URL.match(text.strip()) is not None


def from_environment() -> list[str]:
    """The addresses in NIMBLE_NOTIFICATION_URLS, apart by spaces or commas."""
    given = re.split(r"[\s,]+(?=[A-Za-z][\w+.-]*:)", os.environ.get(VARIABLE, "").strip())
    return [url for url in given if url]


def learn(text: str) -> None:
    """Keep the tokens an entry leads to out of what this process writes, whether they are right or not."""
    if is_address(text):
        secrets.learn([text.strip()])
        return
    reference = text.strip().removeprefix("secret:")
    content = os.environ.get(reference, "")
    with contextlib.suppress(OSError):
        content += Path(reference).expanduser().read_text(encoding="utf-8")
    secrets.learn(_ANY_URL.findall(content))


def services(text: str, position: int) -> Sequence[Any]:
    """Apprise's objects for an entry: one for an address, any number for a file."""
    with warnings.catch_warnings():
        # Of Python, about how Apprise's plugins are written.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _found(text.strip(), position)


def _found(text: str, position: int) -> Sequence[Any]:
    if is_address(text):
        return [_service(text, position)]
    reference = text.removeprefix("secret:")
    path = Path(reference).expanduser()
    if path.suffix in _FILES:
        return _from_apprise_file(path)
    if path.is_absolute():
        lines = [line.strip() for line in _private_text(path).splitlines()]
        return [_service(line, position) for line in lines if line and not line.startswith("#")]
    if reference == text:
        raise RequestError(
            f"Notification address {position} is neither an address nor a reference to one. {HOW}"
        )
    if not os.environ.get(reference):
        raise RequestError(
            f"Notification address {position} is in the variable {reference}, which is not set. "
            f"Set it: export {reference}=..."
        )
    urls = os.environ[reference].split()
    if not all(map(is_address, urls)):
        raise RequestError(f"Notification address {position}: the variable {reference} holds no address.")
    return [_service(url, position) for url in urls]


def _private_text(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RequestError(f"The file of addresses {path} cannot be read: {error.strerror}.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise RequestError(f"The file of addresses {path} can be read by others. Type: chmod 600 {path}")
    return text


def _from_apprise_file(path: Path) -> list[Any]:
    text = _private_text(path)
    secrets.learn(_ANY_URL.findall(text))
    apprise = _apprise()
    config = apprise.AppriseConfig(asset=asset())
    config.add(str(path))
    found = list(config.services())
    if not found:
        raise RequestError(f"The file of addresses {path} holds none that Apprise understands.")
    return found


def _service(url: str, position: int) -> Any:
    secrets.learn([url])
    apprise = _apprise()
    service = apprise.Apprise.instantiate(url, asset=asset(), suppress_exceptions=True)
    if service is None:
        raise RequestError(f"Notification address {position} {_help(url.partition('://')[0])}")
    return service


def _help(schema: str) -> str:
    """What is wrong with an address that Apprise refuses, in the words of its service."""
    known: dict[str, Any] = {}
    for each in _apprise().Apprise(asset=asset()).details()["schemas"]:
        names = [*(each.get("protocols") or []), *(each.get("secure_protocols") or [])]
        known.update(dict.fromkeys(map(str, names), each))
    if schema not in known:
        near = get_close_matches(schema, known, 1)
        hint = f"did you mean {near[0]}://?" if near else "see https://appriseit.com/services/"
        return f"begins with {schema}://, which is no service known to Apprise; {hint}"
    service = known[schema]
    shown = " or ".join(str(t).replace("{schema}", schema) for t in service["details"]["templates"][:3])
    return f"is not what {service['service_name']} expects: {shown}\nSee {service['setup_url']}"


def _apprise() -> Any:
    try:
        import apprise
    except ImportError:
        raise RequestError(
            "Notifications need apprise, which is not installed: pip install 'apprise>=2,<3'"
        ) from None
    return apprise


def asset() -> Any:
    """Without traces in the user's home, and without a remote image in each message."""
    apprise = _apprise()
    return apprise.AppriseAsset(
        app_id="nimble_lightning",
        storage_mode=apprise.PersistentStoreMode.MEMORY,
        image_url_mask=None,
        image_url_logo=None,
    )
