"""The words of a metric's name say which way is better, or nothing is said."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterator

import pytest
import torchmetrics

from nimble_lightning.ops.metric_names import direction, is_validation_loss

FALLING = """
loss val_loss val/loss valLoss dice_loss accuracy_loss L1Loss MeanSquaredError mean_squared_error rmse RMSE
rmsle mape smape top5_error error_rate neg_log_likelihood negative_log_likelihood nll val_ce cross_entropy
CrossEntropyLoss bits_per_byte eer kl kl_div brier brier_score fid fid_score cost distance latency wer
eval/WER cer perplexity false_positive_rate log_loss logLoss val_loss/dataloader_idx_0 ECE
"""
RISING = """
accuracy acc valAcc val/acc Acc@1 acc1 top5_accuracy F1 f1 f1-macro BinaryF1Score AUROC roc_auc BinaryAUROC
mAP mAP50 map_50 IoU mIoU MeanIoU dice DiceScore BLEU4 rouge1 rougeL r2 R2 R2Score psnr ssim recall@5
ndcg@10 pass@1 precision reward episode_return score log_likelihood neg_mean_squared_error neg_log_loss
true_negative_rate explained_variance NegativePredictiveValue HitRate samples_per_second matthews_corr_coef
"""
UNKNOWN = """
mean_gap accuracy_gap 1-accuracy one_minus_accuracy loss_scale accuracy_std neg_loss neg_accuracy
accuracy_neg glossary lossy zorp acuracy entropy energy 7 _
"""
# Where torchmetrics contradicts the definitions of its own metrics.
MISTAKEN = {"DaviesBouldinScore", "WordInfoPreserved"}


@pytest.mark.parametrize(
    ("names", "expected"), [(FALLING, "min"), (RISING, "max"), (UNKNOWN, None)], ids=["min", "max", "unknown"]
)
def test_whole_words_say_which_way_is_better(names: str, expected: str | None) -> None:
    assert {name: direction(name) for name in names.split()} == dict.fromkeys(names.split(), expected)


def test_the_validation_loss_is_known_however_it_is_spelt() -> None:
    losses = [
        "val_loss",
        "val/loss",
        "valLoss",
        "valid_loss",
        "validation/loss",
        "eval_loss",
        "loss",
        "val_loss_epoch",
    ]
    assert all(map(is_validation_loss, losses))
    others = ["train_loss", "test_loss", "dice_loss", "val_accuracy", "val_lossy", "val"]
    assert not any(map(is_validation_loss, others))


def metrics() -> Iterator[tuple[str, bool]]:
    """The classes of torchmetrics that say which way is better."""
    for module in pkgutil.walk_packages(torchmetrics.__path__, "torchmetrics."):
        if "functional" in module.name:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = vars(importlib.import_module(module.name))
        for name, value in content.items():
            metric = inspect.isclass(value) and issubclass(value, torchmetrics.Metric)
            if metric and not name.startswith("_") and isinstance(value.higher_is_better, bool):
                yield name, value.higher_is_better


def test_no_name_contradicts_torchmetrics() -> None:
    stated = dict(metrics())
    known = {name: found == "max" for name in stated if (found := direction(name)) is not None}
    assert len(known) > 100
    assert {name for name, higher in known.items() if stated[name] != higher} == MISTAKEN
