"""What ran, signed; and whether a run folder is what was signed. Needs no torch, and unpickles nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nimble_lightning._lazy import lazy

if TYPE_CHECKING:
    from nimble_lightning.proof.backend import Ed25519
    from nimble_lightning.proof.keys import generate
    from nimble_lightning.proof.oms import OMS
    from nimble_lightning.proof.sign_folder import sign
    from nimble_lightning.proof.verification import Expected, verify
    from nimble_lightning.proof.verification_report import Problem, Report

__all__ = ["OMS", "Ed25519", "Expected", "Problem", "Report", "generate", "sign", "verify"]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Ed25519": "nimble_lightning.proof.backend",
        "Expected": "nimble_lightning.proof.verification",
        "OMS": "nimble_lightning.proof.oms",
        "Problem": "nimble_lightning.proof.verification_report",
        "Report": "nimble_lightning.proof.verification_report",
        "generate": "nimble_lightning.proof.keys",
        "sign": "nimble_lightning.proof.sign_folder",
        "verify": "nimble_lightning.proof.verification",
    },
)
