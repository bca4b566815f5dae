from __future__ import annotations

import pytest
from line_trainer import Line, fitted

from nimble_lightning.callbacks import HubPush
from nimble_lightning.errors import RequestError


def test_a_strategy_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(RequestError, match="there are end, every_save, checkpoint, all_checkpoints"):
        HubPush("me/model", strategy="sometimes")


@pytest.mark.parametrize("repo", ["model", "https://huggingface.co/me/model", "me/a/b", ""])
def test_a_name_that_is_no_repositorys_is_refused(repo: str) -> None:
    with pytest.raises(RequestError, match="expected OWNER/NAME"):
        HubPush(repo)


def test_without_a_repository_it_says_that_nothing_is_pushed(caplog: pytest.LogCaptureFixture) -> None:
    fitted(Line(), callbacks=[HubPush()], max_epochs=1)
    assert "nothing is pushed: callbacks.hub_push.repo=OWNER/NAME" in caplog.text
