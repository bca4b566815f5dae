from __future__ import annotations

import pytest

from nimble_lightning.callbacks import HubPush
from nimble_lightning.errors import RequestError


def test_a_strategy_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(RequestError, match="there are end, every_save, checkpoint, all_checkpoints"):
        HubPush("me/model", strategy="sometimes")


@pytest.mark.parametrize("repo", ["model", "https://huggingface.co/me/model", "me/a/b", ""])
def test_a_name_that_is_no_repositorys_is_refused(repo: str) -> None:
    with pytest.raises(RequestError, match="expected OWNER/NAME"):
        HubPush(repo)
