"""What was asked for and would change nothing is refused; what acts, or is off, is not."""

from __future__ import annotations

from typing import Any

import pytest

from nimble_lightning.errors import RequestError
from nimble_lightning.report import shipped_defaults
from nimble_lightning.runs.request.setting_effects import Trained, asked_in, differing, unheard, unwatched

STEPS = Trained("Mine", "steps")
OWN = Trained("Mine", "steps", own_optimizer=True)
WHOLE = Trained("Mine", "whole")
ALONE = Trained("Mine", "whole", returns=False)
MODULE = Trained("Net", "module")


def config(**settings: Any) -> dict[str, Any]:
    return shipped_defaults.merged(shipped_defaults.defaults(), {"lightning": {"max_epochs": 3}, **settings})


@pytest.mark.parametrize(
    ("trained", "key", "said"),
    [
        (OWN, "optim", "Mine.configure_optimizers decides"),
        (OWN, "optim.lr", "Mine.configure_optimizers decides"),
        (OWN, "schedule", "a keyword of pre_process"),
        (WHOLE, "optim.lr", "trains by itself"),
        (WHOLE, "clip.norm", "params.NAME"),
        (WHOLE, "model.compile", "trains by itself"),
        (ALONE, "data.batch_size", "trains by itself"),
        (ALONE, "lightning.max_epochs", "train(self, batch)"),
        (ALONE, "callbacks.early_stopping", "trains by itself"),
        (ALONE, "logger", "trains by itself"),
        (ALONE, "monitor", "trains by itself"),
        (STEPS, "datamodule", "the data are what Mine brings"),
        (Trained("build", "function"), "datamodule", "the data are what build brings"),
        (Trained("build", "function"), "optim", "build returns a LightningModule"),
        (MODULE, "optim", "its configure_optimizers decides"),
        (MODULE, "data.batch_size", "params.NAME reaches its constructor"),
        (MODULE, "clip.norm", "lightning.gradient_clip_val=1.0"),
        (MODULE, "model.gradient_checkpointing", "configure_model"),
        (STEPS, "lightning.use_distributed_sampler", "its share of the data of Mine"),
        (STEPS, "callbacks.exact_resume.seed", "seed=N"),
        (STEPS, "lightning.gradient_clip_algorithm", "clip.value=0.5"),
        (MODULE, "lightning.gradient_clip_algorithm", "no lightning.gradient_clip_val"),
    ],
)
def test_what_would_change_nothing_is_refused(trained: Trained, key: str, said: str) -> None:
    asked = config(
        clip={"norm": 1.0},
        lightning={
            "max_epochs": 3,
            "use_distributed_sampler": False,
            "gradient_clip_algorithm": "value",
        },
        model={"compile": True, "gradient_checkpointing": True},
        callbacks={"early_stopping": {"patience": 3}},
        monitor="accuracy",
        datamodule="data.py",
        optim={"lr": 0.1},
    )
    with pytest.raises(RequestError, match=f"{key} would change nothing") as error:
        trained.refuse([key], asked)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("trained", "key"),
    [
        (STEPS, "optim.lr"),
        (STEPS, "schedule"),
        (OWN, "clip.norm"),
        (OWN, "data.batch_size"),
        (WHOLE, "lightning.max_epochs"),
        (WHOLE, "data.batch_size"),
        (ALONE, "lightning.devices"),
        (ALONE, "lightning.accelerator"),
        (ALONE, "callbacks.auto_retry.max_retries"),
        (ALONE, "callbacks.usage_report"),
        (ALONE, "callbacks.early_stopping"),
        (ALONE, "params.lr"),
        (ALONE, "seed"),
        (ALONE, "monitor"),
        (MODULE, "lightning.max_epochs"),
        (MODULE, "monitor"),
        (MODULE, "datamodule"),
        (MODULE, "model.compile"),
        (MODULE, "callbacks.ema"),
        (MODULE, "lightning.use_distributed_sampler"),
        (MODULE, "callbacks.exact_resume.seed"),
    ],
)
def test_what_acts_or_is_off_is_not(trained: Trained, key: str) -> None:
    trained.refuse([key], config(optim={"lr": 0.1}, clip={"norm": 1.0}))


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_a_least_length_beyond_the_end_is_refused(unit: str) -> None:
    limits = {f"min_{unit}": 5, f"max_{unit}": 2}
    with pytest.raises(RequestError, match=f"min_{unit} would change nothing: .*max_{unit}=2\nGive a larger"):
        STEPS.refuse([f"lightning.min_{unit}"], config(lightning=limits))
    for end in (5, 6, -1, None):
        STEPS.refuse([f"lightning.min_{unit}"], config(lightning={**limits, f"max_{unit}": end}))


def test_what_a_whole_run_did_not_hear_is_known() -> None:
    asked = ["lightning.max_epochs", "params.lr", "data.batch_size", "lightning.devices", "monitor"]
    assert unheard(asked, config()) == ["lightning.max_epochs", "data.batch_size"]


def test_what_only_a_process_beside_the_run_hears_is_known() -> None:
    asked = ["callbacks.auto_retry.hang_seconds", "callbacks.auto_retry.save_every_n_steps", "seed"]
    assert unwatched(asked) == ["callbacks.auto_retry.hang_seconds"]


def test_the_names_of_what_is_set() -> None:
    assert asked_in({"optim": {"lr": 1}, "seed": 3}) == ["optim.lr", "seed"]
    assert asked_in({}) == []
    assert list(differing(shipped_defaults.merged(shipped_defaults.defaults(), {"optim": {"lr": 0.1}}))) == [
        "optim.lr"
    ]
