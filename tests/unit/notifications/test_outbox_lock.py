"""One delivers at a time, and what is locked is a file of the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.notifications.outbox import LOCK, OutboxLock
from nimble_lightning.run_folder import OUTBOX


def test_a_second_one_is_told_who_delivers(tmp_path: Path) -> None:
    with OutboxLock(tmp_path), pytest.raises(RequestError, match="is delivering these already"):
        OutboxLock(tmp_path).__enter__()
    with OutboxLock(tmp_path):
        pass


def test_a_link_in_its_place_is_refused_and_leads_nowhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("as it was")
    (tmp_path / OUTBOX).mkdir()
    (tmp_path / OUTBOX / LOCK).symlink_to(elsewhere)
    with pytest.raises(RequestError, match="expected a plain file; remove it"):
        OutboxLock(tmp_path).__enter__()
    assert elsewhere.read_text() == "as it was"
