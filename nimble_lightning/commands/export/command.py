"""`nimble-cli export DIR --to FORMAT`: files from a run, each checked by a fresh process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nimble_lightning.commands.argument_parser import Parser
from nimble_lightning.errors import NimbleError, RequestError
from nimble_lightning.export import metadata
from nimble_lightning.export.formats import ExportFormat
from nimble_lightning.runs.completion import exports
from nimble_lightning.runs.job import Job

if TYPE_CHECKING:
    from nimble_lightning.export.exportable_models import ExportedModel
    from nimble_lightning.runs.trust import Vouched

_HUB = "hub"
_HOW = "--trainer FILE to run a file of yours, --key PUB if it is signed, --trust if it is your own"


def main(words: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code."""
    asked = _parser().read(words)
    job = Job.load(asked.folder)
    out = Path(asked.out) if asked.out else default_out(job)
    formats = [ExportFormat(name) for name in dict.fromkeys(asked.to) if name != _HUB]
    to_the_hub = _HUB in asked.to
    if to_the_hub and not asked.repo:
        raise RequestError("--to hub needs --repo OWNER/NAME.")
    if formats or (to_the_hub and not metadata.is_whole(job.folder.exported)):
        # Brings Lightning with it.
        from nimble_lightning.runs.trust import TrustTerms, vouched

        terms = TrustTerms(asked.key, asked.trainer, asked.trust, _HOW)
        export(vouched(job.folder.path, terms), formats or [ExportFormat.SAFETENSORS], out)
        source = (out / formats[0] if formats == [ExportFormat.MERGED] else out).resolve()
    else:
        source = job.folder.exported
    if to_the_hub:
        print(exports.push_to_hub(job, source, asked.repo, bars=sys.stderr.isatty()))
    return 0


def export(run: Vouched, formats: Sequence[ExportFormat], out: Path) -> None:
    """Build the run's model again and export it; says what was written."""
    for kind in formats:
        kind.require()
    from nimble_lightning.commands.export.rebuild import build_model, built, load_best, sample_calls
    from nimble_lightning.export.merged_adapter import require_adapter
    from nimble_lightning.export.write_exports import export as make
    from nimble_lightning.export.write_exports import judge_together
    from nimble_lightning.worker.export_best import facts_of

    job, rebuilt = run.job, built(run)
    checkpoint, step = load_best(rebuilt)
    judge_together(rebuilt.models)
    if ExportFormat.MERGED in formats:
        for model in rebuilt.models:
            require_adapter(model, job.folder.exported)
    calls = sample_calls(rebuilt)
    builder = {
        "builder": f"{build_model.__module__}.{build_model.__qualname__}",
        "run_folder": str(job.folder.path),
        "trainer": job.trainer,
        "whole": run.whole,
    }
    for model in rebuilt.models:
        folder = metadata.folder_for(out, model.name, len(rebuilt.models))
        for place, kinds, described in _places(model, formats, folder):
            facts = facts_of(job, described, checkpoint, step)
            for name, check in make(model, kinds, place, calls[model.name], facts, builder).items():
                print(
                    f"{place}: {name} of {model.name}, step {step}; {check.how} on {len(check.shapes)} "
                    f"shapes of real samples, largest difference {check.max_difference:.1e}"
                )


def _places(
    model: ExportedModel, formats: Sequence[ExportFormat], folder: Path
) -> Iterator[tuple[Path, list[ExportFormat], ExportedModel]]:
    """Folders, the formats that go into each, and the model that those are of."""
    others: list[ExportFormat] = [kind for kind in formats if kind is not ExportFormat.MERGED]
    if others:
        yield folder, others, model
    if ExportFormat.MERGED in formats:
        base = replace(model, module=model.module.get_base_model())  # type: ignore[operator]
        # Beside the files of the adapter, transformers would open that.
        yield folder / ExportFormat.MERGED, [ExportFormat.MERGED], base


def default_out(job: Job) -> Path:
    """Beside the run's folder: one that was signed must stay as it is."""
    return job.folder.path.with_name(f"{job.folder.path.name}-exported")


def _parser() -> Parser:
    parser = Parser(
        "export", "Export the best weights of a run. Every file is read back by a fresh process and compared."
    )
    parser.add_argument("folder", metavar="DIR", help="the run's folder")
    choices = [*(kind.value for kind in ExportFormat), _HUB]
    parser.add_argument(
        "--to", nargs="+", choices=choices, required=True, metavar="FORMAT", help=f"of {', '.join(choices)}"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where to (default: beside the run's folder)")
    parser.add_argument("--trainer", metavar="FILE", help="the trainer's file, to build the model with")
    parser.add_argument("--key", metavar="PUB", help="the public half of the key that signed the run")
    parser.add_argument("--trust", action="store_true", help="run the code that the folder names")
    parser.add_argument("--repo", metavar="OWNER/NAME", help="of the Hub, for --to hub")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NimbleError as reason:
        sys.exit(f"error: {reason}")
