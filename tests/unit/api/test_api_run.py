"""`nl.run` takes settings as the command line does."""

from __future__ import annotations

from typing import Any

import pytest

from nimble_lightning.api.run import _compose
from nimble_lightning.errors import RequestError


def composed(**settings: Any) -> Any:
    return _compose({}, settings)


def test_a_choice_of_a_group_is_given_by_its_name() -> None:
    assert composed(optim="sgd").optim._target_.endswith("SGD")
    assert composed(launch="inline").launch.name == "inline"


def test_callbacks_are_turned_on_and_off_and_set_by_name() -> None:
    config = composed(callbacks={"gpu_info": True, "usage_report": {"pue": 1.5}, "progress": False})
    assert config.callbacks.gpu_info._target_.endswith("GPUInfo")
    assert config.callbacks.usage_report.pue == 1.5
    assert config.callbacks.usage_report._target_.endswith("UsageReport")
    assert config.callbacks.progress is None
    assert config.callbacks.auto_retry.max_retries == 5


def test_a_callback_of_the_users_own_says_what_it_is() -> None:
    config = composed(callbacks={"mine": {"_target_": "my.module.Mine"}})
    assert config.callbacks.mine._target_ == "my.module.Mine"
    with pytest.raises(RequestError, match=r"no callbacks\.mine; there are .*\n.*_target_"):
        composed(callbacks={"mine": {"size": 3}})


def test_a_name_that_does_not_exist_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        RequestError, match=r"no callbacks\.early_stoping; did you mean callbacks\.early_stopping"
    ):
        composed(callbacks={"early_stoping": True})
    with pytest.raises(RequestError, match=r"logger\.csv=7: expected true, null or settings"):
        composed(logger={"csv": 7})
    assert composed(logger={"csv": True}).logger.csv._target_.endswith("CSVLogger")


def test_parameters_and_sections_are_merged() -> None:
    config = _compose({"lr": 0.1}, {"data": {"batch_size": 7}, "lightning": {"max_steps": 3}})
    assert (config.params.lr, config.data.batch_size, config.lightning.max_steps) == (0.1, 7, 3)
