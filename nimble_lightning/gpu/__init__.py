"""What GPUs and their machine do: read without CUDA, without torch, and without a GPU when there is none."""

from __future__ import annotations

from nimble_lightning.gpu.device import Gpu, devices_in_use
from nimble_lightning.gpu.nvml import Nvml

__all__ = ["Gpu", "Nvml", "devices_in_use"]
