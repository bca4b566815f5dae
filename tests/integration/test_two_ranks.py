"""On two ranks the numbers are those of one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import lightning as L
import pytest
import torch
import torchmetrics
from lightning.pytorch.demos.boring_classes import BoringModel
from predicting_trainer import evaluated_on
from two_ranks import TwoRanks

from nimble_lightning.adapters import adapt, evaluation
from nimble_lightning.adapters.distributed import gradient_sums
from nimble_lightning.callbacks import ExactResume
from nimble_lightning.errors import TrainerError
from nimble_lightning.settings import DataSettings, LogSettings, RunSettings
from nimble_lightning.trainer import NimbleTrainer


@pytest.fixture(scope="module")
def ranks() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


class Regression(NimbleTrainer):
    """A linear model under SGD, so that weights after a step show its gradient. Some ranks may be short of
    memory."""

    def pre_process(
        self, *, samples: int, most: tuple[int, ...] = (), tokens: bool = False, spare: bool = False
    ) -> None:
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(samples, 3, generator=draw, dtype=torch.float64)
        self.train_data = (x, x.sum(1, keepdim=True), torch.arange(samples))
        self.model = torch.nn.Linear(3, 1).double()
        torch.nn.init.constant_(self.model.weight, 0.5)
        torch.nn.init.zeros_(self.model.bias)
        if spare:
            self.model.spare = torch.nn.Parameter(torch.ones(1).double())
        self.most, self.tokens, self.decay = most, tokens, 0.1 * spare
        self.rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0

    def train(self, batch: Any) -> Any:
        x, y, number = batch
        if self.most and len(x) > self.most[self.rank]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        errors = (self.model(x) - y).square().squeeze(1)
        if not self.tokens:
            return errors.mean()
        weight = 1.0 + number % 3
        return (errors * weight).sum() / weight.sum(), weight.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.model.parameters(), lr=0.05, weight_decay=self.decay)


def weights(
    rank: int, devices: int, data: DataSettings, options: dict[str, Any], params: dict[str, Any]
) -> tuple[list[float], int, int]:
    """Train one epoch; returns the weights, the steps, and the size of the pieces at the end."""
    module, loaders = adapt(Regression(), settings=RunSettings(data=data), **params)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,
    )
    trainer.fit(module, datamodule=loaders)
    return (
        torch.cat([p.flatten() for p in module.parameters()]).tolist(),
        trainer.global_step,
        module.stepping.pieces.size or 0,
    )


def both(
    ranks: TwoRanks, samples: int, batch: int, *, micro: Any = "auto", accumulate: int = 1, **params: Any
) -> tuple[Any, Any]:
    """The same global batches on one rank, uncut, and on two."""
    params["samples"] = samples
    uncut = {k: v for k, v in params.items() if k != "most"}
    one = weights(0, 1, DataSettings(batch_size=2 * batch * accumulate, shuffle=False), {}, uncut)
    options = {"accumulate_grad_batches": accumulate} if accumulate > 1 else {}
    two = ranks.run(
        weights, 2, DataSettings(batch_size=batch, micro_batch_size=micro, shuffle=False), options, params
    )
    assert two[0] == two[1]
    return one, two[0]


@pytest.mark.parametrize("micro", ["auto", 1, 3])
@pytest.mark.parametrize("tokens", [False, True])
def test_gradients_equal_those_of_the_uncut_batch_on_one_rank(
    ranks: TwoRanks, micro: Any, tokens: bool
) -> None:
    one, two = both(ranks, 37, 5, micro=micro, tokens=tokens)
    assert two[0] == pytest.approx(one[0], abs=1e-9)
    assert two[1] == one[1] == 4


@pytest.mark.parametrize("samples", [11, 21, 22, 39])
def test_the_last_incomplete_batch_counts_by_what_it_holds(ranks: TwoRanks, samples: int) -> None:
    one, two = both(ranks, samples, 5, micro=2)
    if samples not in (
        11,
        21,
    ):  # a rest of one sample is shared out over two steps, so that no rank is left with nothing
        assert two[0] == pytest.approx(one[0], abs=1e-9)
    assert two[1] == one[1]


@pytest.mark.parametrize("tokens", [False, True])
def test_accumulated_batches_equal_one_large_batch(ranks: TwoRanks, tokens: bool) -> None:
    one, two = both(ranks, 40, 5, accumulate=2, tokens=tokens)
    assert two[0] == pytest.approx(one[0], abs=1e-9)
    assert two[1] == one[1] == 2


def test_what_no_rank_has_used_does_not_decay(ranks: TwoRanks) -> None:
    one, two = both(ranks, 20, 5, spare=True)
    assert two[0] == pytest.approx(one[0], abs=1e-9)
    assert 1.0 in two[0]


@pytest.mark.parametrize("most", [(2, 100), (100, 2), (1, 3)])
def test_one_rank_out_of_memory_halves_the_pieces_on_both_and_changes_nothing_else(
    ranks: TwoRanks, most: tuple[int, int]
) -> None:
    one, two = both(ranks, 40, 5, most=most)
    assert two[0] == pytest.approx(one[0], abs=1e-9)
    assert 0 < two[2] <= min(m for m in most)


class Evaluated(NimbleTrainer):
    def pre_process(self, *, samples: int) -> None:
        self.model = torch.nn.Linear(1, 2)
        self.train_data = (torch.zeros(4, 1), torch.zeros(4, dtype=torch.long))
        self.eval_data = self.test_data = (torch.arange(samples).float()[:, None],)
        self.seen: list[int] = []
        self.f1 = torchmetrics.classification.BinaryF1Score()

    def train(self, batch: Any) -> torch.Tensor:
        return self.model(batch[0]).sum()  # type: ignore[no-any-return]

    def evaluate(self, batch: Any) -> Any:
        number = batch[0].squeeze(1)
        self.seen += number.int().tolist()
        self.f1.update((number % 2).int(), (number % 3 > 0).int())
        return {"mean": number, "loss": number.mean(), "f1": self.f1}


def evaluated(rank: int, devices: int, samples: int, batch: int) -> tuple[dict[str, float], list[int]]:
    trainer = Evaluated()
    module, data = adapt(
        trainer, settings=RunSettings(data=DataSettings(eval_batch_size=batch)), samples=samples
    )
    lightning = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    return dict(lightning.test(module, datamodule=data, verbose=False)[0]), trainer.seen


@pytest.mark.parametrize(("samples", "batch"), [(5, 2), (5, 1), (6, 3), (1, 4), (13, 4), (2, 32)])
def test_evaluation_counts_every_sample_exactly_once(ranks: TwoRanks, samples: int, batch: int) -> None:
    alone, _ = evaluated(0, 1, samples, batch)
    (first, seen_first), (second, seen_second) = ranks.run(evaluated, 2, samples, batch)
    assert first == second
    assert first["test_mean"] == pytest.approx(sum(range(samples)) / samples)
    if samples >= 2:
        assert first == pytest.approx(alone)
        assert sorted(seen_first + seen_second) == list(range(samples))


def test_rank_state_travels_with_the_checkpoint_of_rank_zero(ranks: TwoRanks, tmp_path: Any) -> None:
    first, second = ranks.run(drawn_after_resume, str(tmp_path))
    assert first != second
    assert first[0] == first[1]
    assert second[0] == second[1]


def drawn_after_resume(rank: int, folder: str) -> tuple[float, float]:
    """The random number of the third step, in an uninterrupted run and in one resumed before it."""
    drawn: list[float] = []

    class Draws(Regression):
        def train(self, batch: Any) -> Any:
            drawn.append(float(torch.rand(())))
            return super().train(batch)

    class Saves(L.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(f"{folder}/two.ckpt")

    def fit(path: str | None, callbacks: list[L.Callback]) -> None:
        torch.manual_seed(rank)
        module, data = adapt(Draws(), settings=RunSettings(data=DataSettings(batch_size=2)), samples=16)
        trainer = L.Trainer(
            accelerator="cpu",
            devices=2,
            strategy="ddp",
            max_epochs=1,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, datamodule=data, ckpt_path=path, weights_only=True)

    fit(None, [ExactResume(), Saves()])
    uninterrupted = drawn[2]
    drawn.clear()
    torch.rand(5)
    fit(f"{folder}/two.ckpt", [ExactResume()])
    return uninterrupted, drawn[0]


class Scored(Regression):
    """Figures of several kinds, or one that is worked out from what a rank has seen."""

    def pre_process(self, *, samples: int, figures: str) -> None:  # type: ignore[override]
        super().pre_process(samples=8)
        self.eval_data = (torch.arange(float(samples)),)
        self.figures, self.seen = figures, []  # type: ignore[var-annotated]
        self.kept = torchmetrics.SumMetric()

    def evaluate(self, batch: Any) -> Any:
        (x,) = batch
        if self.figures == "derived":
            self.seen.append(x)
            return {"mean": x.mean()}
        anew, self.anew = torchmetrics.SumMetric(), None
        for metric in (anew, self.kept):
            metric.update(x)
        return {"share": (x > 2).float().mean(), "kept": self.kept, "anew": anew}

    def compute_metrics(self, metrics: Any) -> Any:
        if self.figures == "derived":
            return {"spread": float(torch.cat(self.seen).std())}
        return {"twice": 2 * metrics["share"]}


def scored(rank: int, samples: int, figures: str) -> dict[str, float] | str:
    module, loaders = adapt(
        Scored(), settings=RunSettings(data=DataSettings(batch_size=2)), samples=samples, figures=figures
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    try:
        trainer.validate(module, datamodule=loaders, verbose=False)
    except TrainerError as error:
        return str(error)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_figures_of_one_rank_alone_are_refused_and_those_of_means_go_on(ranks: TwoRanks) -> None:
    one, other = ranks.run(scored, 7, "derived")
    assert one == other
    assert "spread is 2.3804762 on rank 0 and 2.081666 on rank 1" in one
    assert "let compute_metrics work with the figures it is given" in one


@pytest.mark.parametrize("samples", [7, 1])
def test_every_sample_counts_once_in_every_kind_of_figure(ranks: TwoRanks, samples: int) -> None:
    """A single sample is seen by both ranks."""
    x = torch.arange(float(samples))
    share = (x > 2).double().mean().item()
    expected = {"share": share, "kept": x.sum().item(), "anew": x.sum().item(), "twice": 2 * share}
    assert ranks.run(scored, samples, "figures") == [expected, expected]


def logged(rank: int, devices: int, name: str) -> list[float]:
    """A figure of training after each step."""
    found: list[float] = []

    class Logged(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            found.append(trainer.callback_metrics[name].item())

    settings = RunSettings(
        data=DataSettings(batch_size=8 // devices, micro_batch_size=3), log=LogSettings(grad_norm=True)
    )
    module, loaders = adapt(Regression(), settings=settings, samples=19)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=1,
        logger=False,
        log_every_n_steps=1,
        callbacks=[Logged()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=loaders)
    return found


@pytest.mark.parametrize("name", ["grad_norm", "train_loss"])
def test_what_is_logged_of_a_step_is_what_one_rank_would_log(ranks: TwoRanks, name: str) -> None:
    alone = logged(0, 1, name)
    assert len(alone) == 3
    assert ranks.run(logged, 2, name) == [pytest.approx(alone)] * 2


def used(rank: int) -> list[int]:
    parameters = [torch.nn.Parameter(torch.ones(1)) for _ in range(3)]
    parameters[0].grad = torch.ones(1)
    parameters[1].grad = torch.ones(1) if rank else None
    found = gradient_sums.used_by_any(parameters, torch.device("cpu"))
    return [number for number, each in enumerate(parameters) if any(each is one for one in found)]


def test_a_parameter_counts_as_used_when_one_rank_has_used_it(ranks: TwoRanks) -> None:
    assert ranks.run(used) == [[0, 1], [0, 1]]


def logged_by_itself(rank: int) -> list[str]:
    class Own(BoringModel):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("alone", float(self.global_rank), sync_dist=False)
            self.log("together", float(self.global_rank), sync_dist=True)

    said: list[str] = []
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        limit_val_batches=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(evaluation, "say_once", said.append)
        found = evaluation.figures(trainer, trainer.validate(Own(), verbose=False))
    assert found == {"alone": float(rank), "together": 0.5}
    return said


def test_a_figure_that_a_module_logs_for_one_rank_alone_is_told_as_such(ranks: TwoRanks) -> None:
    words = "alone is that of the samples of this rank alone; log it with sync_dist=True"
    assert ranks.run(logged_by_itself) == [[words], []]


def predicted(rank: int, rows: int) -> dict[str, float]:
    return evaluated_on(2, rows=rows)


@pytest.mark.parametrize("rows", [33, 64])
def test_compute_metrics_gets_every_prediction_once_in_the_order_of_the_data(
    ranks: TwoRanks, rows: int
) -> None:
    alone = evaluated_on(1, rows=rows)
    for found in ranks.run(predicted, rows):
        assert found == pytest.approx(alone, rel=1e-6)
