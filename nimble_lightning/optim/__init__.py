"""Optimizers and learning-rate schedules for trainers that define none."""

from __future__ import annotations

from nimble_lightning.optim.build import build_optimizer as build_optimizer
from nimble_lightning.optim.build import build_schedule as build_schedule
from nimble_lightning.optim.groups import parameter_groups as parameter_groups
from nimble_lightning.optim.lion import Lion as Lion
from nimble_lightning.optim.muon import MuonWithAdamW as MuonWithAdamW
