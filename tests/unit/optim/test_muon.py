"""Muon and AdamW as one optimizer are Muon and AdamW."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from nimble_lightning.errors import RequestError
from nimble_lightning.optim import MuonWithAdamW


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 6)
        self.up = nn.Linear(6, 12)
        self.norm = nn.LayerNorm(12)
        self.down = nn.Linear(12, 6)
        self.out = nn.Linear(6, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.down(self.norm(torch.tanh(self.up(self.words(x))))))


def make() -> Model:
    torch.manual_seed(0)
    return Model()


def train(model: nn.Module, *optimizers: torch.optim.Optimizer, steps: int = 8, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        tokens = torch.randint(7, (16,), generator=generator)
        nn.functional.cross_entropy(model(tokens), tokens).backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def both(model: nn.Module) -> MuonWithAdamW:
    return MuonWithAdamW(MuonWithAdamW.parameter_groups(model, weight_decay=0.1), lr=0.01)


def test_it_equals_torchs_two_optimizers_run_separately() -> None:
    together, apart = make(), make()
    hidden = [apart.down.weight, apart.up.weight]
    decayed = [apart.out.weight, apart.words.weight]
    spared = [one for one in apart.parameters() if one.ndim == 1]
    muon = torch.optim.Muon(hidden, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}], lr=0.01
    )
    train(together, both(together))
    train(apart, muon, adamw)
    assert equal(together, apart)
    assert not equal(together, make())


def test_only_hidden_matrices_go_to_muon() -> None:
    model = make()
    muon, decayed, spared = both(model).param_groups
    assert [id(one) for one in muon["params"]] == [id(model.down.weight), id(model.up.weight)]
    assert {id(one) for one in decayed["params"]} == {id(model.out.weight), id(model.words.weight)}
    assert all(one.ndim == 1 for one in spared["params"])
    assert (muon["weight_decay"], decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.1, 0.0)


def test_a_head_is_known_by_its_name_wherever_it_is_defined() -> None:
    modules = {"lm_head": nn.Linear(4, 7), "body": nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))}
    groups = MuonWithAdamW.parameter_groups(modules)
    assert [tuple(one.shape) for one in groups[0]["params"]] == [(4, 4), (4, 4)]


def test_a_head_tied_to_the_embedding_is_no_hidden_matrix() -> None:
    model = make()
    model.out.weight = model.words.weight
    (muon,) = [group for group in MuonWithAdamW.parameter_groups(model) if group["muon"]]
    assert all(one is not model.words.weight for one in muon["params"])


def test_a_model_without_hidden_matrices_is_trained_by_adamw() -> None:
    model = nn.Linear(3, 2)
    optimizer = both(model)
    assert not any(group["muon"] for group in optimizer.param_groups)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()


def test_groups_that_do_not_say_who_trains_them_are_refused() -> None:
    with pytest.raises(RequestError, match="MuonWithAdamW.parameter_groups"):
        MuonWithAdamW(make().parameters())


def test_a_schedule_moves_the_rate_of_every_group() -> None:
    model = make()
    optimizer = both(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0)
    before = copy.deepcopy(model)
    train(model, optimizer, steps=1)
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.0, 0.0, 0.0]
    assert equal(model, before)


def test_a_group_added_later_is_trained_by_adamw() -> None:
    model, extra = make(), nn.Parameter(torch.ones(3, 3))
    optimizer = both(model)
    optimizer.add_param_group({"params": [extra]})
    extra.grad = torch.ones(3, 3)
    optimizer.step()
    assert not torch.equal(extra.detach(), torch.ones(3, 3))
    assert "exp_avg" in optimizer.state[extra]


def test_it_continues_after_being_pickled() -> None:
    model = make()
    optimizer = both(model)
    train(model, optimizer, steps=3)
    twin, twin_optimizer = pickle.loads(pickle.dumps((model, optimizer)))
    train(model, optimizer, steps=3, seed=2)
    train(twin, twin_optimizer, steps=3, seed=2)
    assert equal(model, twin)
