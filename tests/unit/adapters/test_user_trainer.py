"""Any object with the methods is a trainer; what is missing or misplaced is said before anything runs."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from nimble_lightning import NimbleTrainer
from nimble_lightning.adapters import UserTrainer
from nimble_lightning.errors import RequestError, TrainerError


class Duck:
    """Knows nothing of us."""

    def pre_process(self, *, width: int = 2) -> None:
        self.width = width
        self.model = nn.Linear(width, 1)
        self.times = getattr(self, "times", 0) + 1

    def train(self, batch: Any) -> Any:
        self.log("seen", batch)  # type: ignore[attr-defined]

    def evaluate(self, **kwargs: Any) -> Any:
        return kwargs


def test_a_class_without_our_base_is_prepared_once_with_its_parameters() -> None:
    user = UserTrainer(Duck, {"width": 3})
    user.prepare()
    user.prepare()
    assert (user.name, user.object.width, user.object.times) == ("Duck", 3, 1)
    assert list(user.modules()) == ["model"]


def test_it_can_log_although_it_has_no_such_method() -> None:
    logged: list[tuple[str, Any]] = []
    user = UserTrainer(Duck(), {})
    user.send_logs_to(lambda name, value: logged.append((name, value)))
    user.object.train(5)
    assert logged == [("seen", 5)]


@pytest.mark.parametrize(
    ("train", "itself"),
    [
        (lambda self, batch: 0, False),
        (lambda self, batch, **kwargs: 0, False),
        (lambda self: 0, True),
        (lambda self, **kwargs: 0, True),
        (lambda self, *, run_folder: 0, True),
    ],
)
def test_a_train_without_a_batch_does_everything_itself(train: Any, itself: bool) -> None:
    trainer = type("Mine", (NimbleTrainer,), {"train": train})
    assert UserTrainer(trainer, {}).trains_by_itself is itself


def test_methods_with_any_keywords_get_the_context_and_others_what_they_name() -> None:
    class Mine(Duck):
        def pre_process(self, **kwargs: Any) -> None:
            self.got = kwargs

        def predict_and_show(self, run_folder: str) -> str:
            return run_folder

    user = UserTrainer(Mine, {"lr": 1}, {"run_folder": "here", "resume_from": None})
    user.prepare()
    context = {"params": {"lr": 1}, "run_folder": "here", "resume_from": None}
    assert user.object.got == {**context, "lr": 1}
    assert user.run("evaluate") == context
    assert user.run("predict_and_show") == "here"


def test_defaults_of_our_base_are_not_the_users_methods() -> None:
    class Mine(NimbleTrainer):
        def train(self, batch: Any) -> Any: ...

    user = UserTrainer(Mine, {})
    assert user.method("evaluate") is None
    assert user.run("predict_and_show") is None
    assert not user.takes_batch("evaluate")


class Needy(Duck):
    def __init__(self, path: str) -> None: ...


class Strict(Duck):
    def pre_process(self, *, data: str) -> None: ...  # type: ignore[override]


class Odd(Duck):
    def evaluate(self, *, model: Any) -> Any: ...


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: UserTrainer(NimbleTrainer, {}), RequestError, r"no method train\(\)"),
        (lambda: UserTrainer(object, {}), RequestError, r"no method pre_process\(\)"),
        (
            lambda: UserTrainer(Needy, {}),
            RequestError,
            r"needs path, but a trainer is made without arguments",
        ),
        (lambda: UserTrainer(Strict, {}).prepare(), RequestError, r"needs data. Give params.data="),
        (lambda: UserTrainer(Duck, {"w": 1}).prepare(), RequestError, r"no parameter 'w'. It has: width"),
        (
            lambda: UserTrainer(Odd, {}).run("evaluate"),
            TrainerError,
            r"Odd.evaluate needs model; it can have params",
        ),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize("kind", [list, tuple, dict])
def test_modules_that_would_silently_not_be_trained_are_refused(kind: type) -> None:
    user = UserTrainer(Duck, {})
    user.prepare()
    user.object.parts = {"a": user.object.model} if kind is dict else kind([user.object.model])
    assert list(user.modules()) == ["model"], "a list of what is trained already does no harm"
    user.object.heads = {"a": nn.Linear(1, 1)} if kind is dict else kind([nn.Linear(1, 1)])
    with pytest.raises(
        TrainerError, match=f"heads is a {kind.__name__} of modules.*torch.nn.Module(List|Dict)"
    ):
        user.modules()
