"""A name nobody has is refused with the nearest."""

from __future__ import annotations

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.ops.similar_names import require, unknown
from nimble_lightning.validators.models import KnownModel, Models


def test_the_nearest_name_is_offered_else_all_of_them() -> None:
    assert unknown("metric", "acuracy", ["val_loss", "accuracy"]).endswith("did you mean accuracy?")
    assert unknown("metric", "xyz", ["val_loss", "accuracy"]).endswith("there are accuracy, val_loss")
    assert unknown("metric", "xyz", []).endswith("there are none")
    require("metric", ["a", "b"], ["a", "b", "c"])
    with pytest.raises(RequestError, match="There is no metric d"):
        require("metric", ["a", "d"], ["a", "b", "c"])


def test_models_have_names_and_a_user_may_add_some() -> None:
    models = Models([KnownModel("small", "org/small-model")])
    models.add("ours", "/models/ours")
    assert (models.get("small"), models.get("ours")) == ("org/small-model", "/models/ours")
    assert (models.resolve("small"), models.resolve("org/other")) == ("org/small-model", "org/other")
    assert sorted(models) == ["ours", "small"]
    with pytest.raises(RequestError, match="did you mean small"):
        models.get("smal")
