"""Layers that are cut over ranks train as whole ones do: the samples are the same, and so are the figures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensor_parallel_trainer
import torch
from killed_runs import faults, job
from safetensors.torch import load_file
from sharded_trainer import causes, digests, sharded
from tensor_parallel_trainer import CutLayers, CutSequence, fit
from two_ranks import TwoRanks

from nimble_lightning.commands import main
from nimble_lightning.launch.start import start
from nimble_lightning.runs.result import Result
from nimble_lightning.settings import DataSettings, ModelSettings, RunSettings

# Unlike with Adam, a gradient that is twice too large is seen.
SETTINGS = RunSettings(optim={"_target_": "torch.optim.SGD", "lr": 0.05})
TRAINER = f"{tensor_parallel_trainer.__file__}:CutLayers"
USAGE = "+callbacks.usage_report._target_=nimble_lightning.callbacks.UsageReport"
ASKED = ("lightning.max_epochs=3", "clip.norm=0.5")


@pytest.fixture(scope="module")
def ranks() -> Iterator[TwoRanks]:
    pair = TwoRanks()
    yield pair
    pair.close()


@pytest.fixture(scope="module")
def four() -> Iterator[TwoRanks]:
    both_pairs = TwoRanks(4)
    yield both_pairs
    both_pairs.close()


def both(
    ranks: TwoRanks,
    mesh: tuple[int, int] = (1, 2),
    *,
    kind: type[CutLayers] = CutLayers,
    batch: int = 8,
    micro: Any = "auto",
    settings: RunSettings = SETTINGS,
    params: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """The same global batches in one process, uncut, and on the ranks of a mesh."""
    alone = {name: value for name, value in options.items() if name != "accumulate_grad_batches"}
    whole = DataSettings(
        batch_size=mesh[0] * batch * options.get("accumulate_grad_batches", 1), shuffle=False
    )
    one = fit(0, (1, 1), replace(settings, data=whole, model=ModelSettings()), params or {}, alone)
    data = DataSettings(batch_size=batch, micro_batch_size=micro, shuffle=False)
    found = ranks.run(fit, mesh, replace(settings, data=data), params or {}, options, kind)
    assert all(rank == found[0] for rank in found)
    return one, found[0]


def assert_alike(one: Any, cut: Any) -> None:
    assert cut[0] == pytest.approx(one[0], abs=1e-9)
    assert cut[1] == pytest.approx(one[1], rel=1e-6)


@pytest.mark.parametrize("kind", [CutLayers, CutSequence])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"micro": 3, "params": {"tokens": True}},
        {"micro": 3, "accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"settings": RunSettings()},
    ],
    ids=["plain", "tokens in pieces", "accumulated and clipped", "clipped by value", "fused"],
)
def test_two_ranks_that_share_layers_have_the_gradients_and_figures_of_one(
    ranks: TwoRanks, kind: type[CutLayers], options: dict[str, Any]
) -> None:
    assert_alike(*both(ranks, kind=kind, **options))


def test_two_ranks_that_share_samples_have_them_after_an_evaluation(ranks: TwoRanks) -> None:
    assert_alike(*both(ranks, (2, 1), batch=4, micro=3, params={"tokens": True}, gradient_clip_val=0.1))


def test_evaluation_counts_a_sample_once_though_two_ranks_see_it(ranks: TwoRanks) -> None:
    _, (_, figures) = both(ranks, params={"samples": 21})
    assert figures["samples"] == 21


@pytest.mark.slow
def test_compiled_they_have_them_as_well(ranks: TwoRanks) -> None:
    assert_alike(
        *both(
            ranks,
            micro=3,
            settings=replace(SETTINGS, model=ModelSettings(compile=True)),
            params={"tokens": True},
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"micro": 2, "params": {"tokens": True}},
        {"micro": 2, "accumulate_grad_batches": 2, "gradient_clip_val": 0.1},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"settings": RunSettings()},
    ],
    ids=["plain", "tokens in pieces", "accumulated and clipped", "clipped by value", "fused"],
)
def test_four_ranks_of_which_two_share_layers_and_two_share_samples_do_too(
    four: TwoRanks, options: dict[str, Any]
) -> None:
    assert_alike(*both(four, (2, 2), batch=4, **options))


@pytest.mark.slow
def test_gradients_that_would_not_meet_are_refused(four: TwoRanks) -> None:
    with pytest.raises(RuntimeError, match=r"model\.0\.norm\.weight is not cut up over the 2 ranks"):
        four.run(fit, (2, 2), RunSettings(), {"sharded": False}, {})


# --- whole runs


def run(folder: Path, *overrides: str, data: int = 1, layers: int = 2) -> Result:
    """A run over so many ranks with other samples, each of them several that share layers."""
    mesh = (
        f"lightning.devices={data * layers}",
        f"lightning.strategy.data_parallel_size={data}",
        f"lightning.strategy.tensor_parallel_size={layers}",
    )
    return start(sharded(folder, *ASKED, *mesh, *overrides, trainer=TRAINER))


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("cut")
    return folder, run(folder, "data.micro_batch_size=3", USAGE, *faults("kill@step=8,attempt=1,rank=1"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, start(job(folder, *ASKED, USAGE, trainer=TRAINER))


def usage(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "usage.json").read_text())
    return content


@pytest.mark.slow
def test_a_run_that_was_killed_says_of_itself_what_one_on_a_single_device_says(
    cut: tuple[Path, Result], whole: tuple[Path, Result]
) -> None:
    (folder, ours), (other, theirs) = cut, whole
    assert causes(folder) == ["killed", "finished"]
    for name in ("global_step", "train_loss", "val_loss", "close", "samples"):
        assert ours.metrics[name] == pytest.approx(theirs.metrics[name], rel=1e-6), name
    assert usage(folder)["samples"] == usage(other)["samples"] == 3 * 38
    # Both ranks compute what is not cut, and two steps were done again.
    assert 1.0 < usage(folder)["flops"]["value"] / usage(other)["flops"]["value"] < 1.2


@pytest.mark.slow
def test_what_no_rank_could_export_alone_the_command_exports(
    cut: tuple[Path, Result], whole: tuple[Path, Result], tmp_path: Path
) -> None:
    (folder, _), (other, _), out = cut, whole, tmp_path / "out"
    assert f"nimble-cli export {folder} --to safetensors" in (folder / "log.txt").read_text()
    assert main.main(["export", str(folder), "--to", "safetensors", "--out", str(out), "--trust"]) == 0
    exported, expected = (load_file(path / "model.safetensors") for path in (out, other / "best"))
    assert exported.keys() == expected.keys()
    assert all(torch.allclose(exported[name], weight, atol=1e-9) for name, weight in expected.items())


@pytest.mark.slow
def test_killed_with_dropout_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    drops = ("+params.drop=0.2", "data.micro_batch_size=3")
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    run(calm, *drops)
    run(killed, *drops, *faults("kill@step=8,attempt=1,rank=1"))
    assert causes(killed) == ["killed", "finished"]
    assert digests(killed, tmp_path) == digests(calm, tmp_path)


@pytest.mark.slow
def test_it_goes_on_with_layers_cut_where_samples_were_shared(tmp_path: Path) -> None:
    folder, calm = tmp_path / "moved", tmp_path / "calm"
    asked = ("callbacks.auto_retry.max_retries=0", "+params.samples=96", "lightning.val_check_interval=1.0")
    assert run(folder, *asked, *faults("kill@step=11,attempt=1,rank=1"), data=2, layers=1).status == "failed"
    moved = run(folder, *asked, "+lightning.accumulate_grad_batches=2")
    straight = run(calm, *asked, data=2, layers=1)
    assert (moved.status, moved.attempts[1]["first_step"]) == ("finished", 9)
    assert "resuming on 2 ranks, 2 for a layer what ran on 2 ranks:" in (folder / "log.txt").read_text()
    for name in ("global_step", "val_loss", "close", "samples"):
        assert moved.metrics[name] == pytest.approx(straight.metrics[name], rel=1e-6), name
