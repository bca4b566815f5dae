"""What export.json says about the run and the trainer, so that the model can be made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nimble_lightning.export.exportable_models import ExportedModel
from nimble_lightning.export.metadata import sha256
from nimble_lightning.ops.secrets import redacted
from nimble_lightning.runs.job import Job
from nimble_lightning.runs.record import versions


def facts_of(
    job: Job, model: ExportedModel, checkpoint: str | Path | None, step: int | None
) -> dict[str, Any]:
    """Facts without secrets: references in the parameters stay references, paths are names of files."""
    facts = {
        "run": {
            "id": job.run_id,
            "name": job.name,
            "checkpoint": Path(checkpoint).name if checkpoint else None,
            "step": step,
        },
        "model": {"name": model.name, "class": model.class_name, **_trainer(job.trainer)},
        "params": job.unresolved().get("params") or {},
        "seed": job.settings.seed,
        "versions": versions(),
    }
    plain: dict[str, Any] = redacted(facts)
    return plain


def _trainer(spec: str) -> dict[str, Any]:
    place, _, name = spec.rpartition(":")
    path = Path(place or spec)
    if path.suffix != ".py" or not path.is_file():
        return {"trainer": spec}
    return {"trainer": f"{path.name}:{name}" if place else path.name, "trainer_sha256": sha256(path)}
