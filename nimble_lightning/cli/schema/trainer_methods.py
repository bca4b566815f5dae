"""The methods of a trainer, and the ones that look like a slip of the pen for them."""

from __future__ import annotations

import ast
from difflib import SequenceMatcher

from nimble_lightning.cli.schema.parameters import of_method
from nimble_lightning.cli.schema.source_code import SourceFile
from nimble_lightning.errors import RequestError

METHODS = ("pre_process", "train", "evaluate", "predict_and_show")
OPTIONAL = (
    "configure_optimizers",
    "configure_model",
    "train_dataloader",
    "eval_dataloader",
    "test_dataloader",
    "collate",
    "compute_loss",
    "compute_metrics",
    "preprocess_logits_for_metrics",
    "log",
    "test",
    "predict",
)


def check_methods(node: ast.ClassDef, source: SourceFile) -> None:
    """Refuse a class one of whose methods is almost, but not quite, one that a trainer has.

    Raises:
        RequestError: It names the method, its line and the name that was probably meant.
    """
    own = {child.name: child.lineno for child in node.body if isinstance(child, ast.FunctionDef)}
    for name, line in own.items():
        meant = None if name.startswith("_") else _meant(name, own)
        if meant is not None:
            raise RequestError(
                f"{source.path.name}:{line}: {node.name}.{name} would never be called; "
                f"did you mean {meant}?\nIf it is a helper of your own, call it _{name}"
            )
    if of_method(node, source, "train") is None:
        raise RequestError(
            f"{source.path.name}:{node.lineno}: {node.name} has no train\n"
            "Add `def train(self, batch)` that returns the loss of a batch"
        )


def _meant(name: str, own: dict[str, int]) -> str | None:
    if name in METHODS or name in OPTIONAL:
        return None
    flat = name.replace("_", "").lower()
    for known in (*METHODS, *OPTIONAL):
        if known in own:
            continue
        if flat == known.replace("_", ""):
            return known
        # The four are looked for with more patience than names like `log`, to which many a helper is near.
        patience = 0.85 if known in METHODS and len(known) > 5 else 0.93
        if SequenceMatcher(None, name, known).ratio() >= patience:
            return known
    return None
