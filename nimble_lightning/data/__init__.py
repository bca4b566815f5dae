"""Loaders that know their position: exact resume, every sample once, the same batches with any workers."""

from nimble_lightning.data.loader import Loader
from nimble_lightning.data.make_loader import make_loader

__all__ = ["Loader", "make_loader"]
