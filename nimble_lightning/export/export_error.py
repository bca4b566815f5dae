"""The one error of this part."""

from __future__ import annotations

from nimble_lightning.errors import NimbleError


class ExportError(NimbleError):
    """A model cannot be exported, or its export is not the model; nothing of it was kept."""
