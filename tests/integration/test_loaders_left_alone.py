"""A project's loaders under ExactResume give what they give without it, also after a kill."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel, RandomDataset
from project_loaders import Augmented, Doubling, fit, loaders
from torch.utils.data import DataLoader

from nimble_lightning.callbacks import AutoRetry, ExactResume
from nimble_lightning.data import rng

KINDS = (
    *("generator", "stream", "own class", "two"),
    *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("shuffled", "weighted", "replacement")),
)
LIGHTNING, OTHER = "lightning.pytorch", "pytorch_lightning"

pytestmark = pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before, state = torch.get_num_threads(), rng.snapshot()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    rng.restore(state)


def require_exact(
    package: str, kind: str, workers: int, folder: Path, steps: tuple[int, ...], **options: Any
) -> None:
    untouched = fit(package, loaders(kind, workers), [], **options)
    assert fit(package, loaders(kind, workers), [ExactResume()], **options) == untouched
    for step in steps:
        path = str(folder / f"{step}.ckpt")
        fit(package, loaders(kind, workers), [ExactResume()], save=(step, path), **options)
        _, weights = fit(package, loaders(kind, workers), [ExactResume()], resume=path, seed=99, **options)
        assert weights == untouched[1], f"killed after step {step}"


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_of_the_project_alone_also_after_a_kill(kind: str, tmp_path: Path) -> None:
    require_exact(OTHER if kind == "generator" else LIGHTNING, kind, 0, tmp_path, (8, 12))


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("shuffled alive", (9,)),
        *(
            pytest.param(kind, (1, 8, 11, 12), marks=pytest.mark.slow)
            for kind in ("shuffled", "shuffled alive", "own class", "stream")
        ),
    ],
)
def test_and_so_are_what_workers_draw(kind: str, steps: tuple[int, ...], tmp_path: Path) -> None:
    require_exact(LIGHTNING, kind, 2, tmp_path, steps)


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(("kind", "workers"), [("shuffled", 0), ("generator", 2)])
def test_a_checkpoint_of_lightnings_own_at_the_end_of_an_epoch_is_exact_as_well(
    kind: str, workers: int, tmp_path: Path
) -> None:
    untouched = fit(LIGHTNING, loaders(kind, workers), [])
    ours = [ExactResume(), ModelCheckpoint(dirpath=tmp_path, filename="{epoch}", save_top_k=-1)]
    fit(LIGHTNING, loaders(kind, workers), ours, enable_checkpointing=True)
    path = str(tmp_path / "epoch=0.ckpt")
    _, weights = fit(LIGHTNING, loaders(kind, workers), [ExactResume()], resume=path, seed=99)
    assert weights == untouched[1]


def test_another_seed_is_another_order() -> None:
    seen = [fit(LIGHTNING, loaders("shuffled"), [ExactResume()], seed=seed)[0] for seed in (0, 1)]
    assert seen[0] != seen[1]


def test_a_project_reaches_its_own_loader() -> None:
    own = DataLoader(RandomDataset(32, 8), batch_size=2)
    seen: list[Any] = []

    class Model(BoringModel):
        def on_train_start(self) -> None:
            seen.append(self.trainer.train_dataloader)

    for package, kind in ((LIGHTNING, ExactResume), (LIGHTNING, AutoRetry)):
        trainer = import_module(package).Trainer(
            max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[kind()]
        )
        trainer.fit(Model(), own)
    assert seen == [own, own]


def test_an_order_of_ours_still_leaves_classes_with_an_iteration_of_their_own() -> None:
    def doubled() -> Any:
        return Doubling(Augmented(), 4, shuffle=True)

    assert fit(LIGHTNING, doubled(), [ExactResume(seed=0)]) == fit(LIGHTNING, doubled(), [])


def test_in_an_order_of_ours_the_loader_still_answers_for_the_one_it_replaces() -> None:
    seen: list[Any] = []

    class Model(BoringModel):
        def on_train_start(self) -> None:
            loader = self.trainer.train_dataloader
            seen.extend((len(loader.dataset), loader.batch_size, loader.num_workers))

    trainer = import_module(LIGHTNING).Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[ExactResume(0)]
    )
    trainer.fit(Model(), DataLoader(RandomDataset(32, 8), batch_size=2))
    assert seen == [8, 2, 0]


def test_a_trainer_can_be_copied_in_mid_epoch() -> None:
    class Copies(BoringModel):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            assert batch_idx or copy.deepcopy(self.trainer.callbacks) is not None

    trainer = import_module(LIGHTNING).Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[ExactResume()]
    )
    trainer.fit(Copies(), DataLoader(RandomDataset(32, 8), batch_size=2))
