"""What the name of a metric says by itself: which way is better, and whether it is the validation loss."""

from __future__ import annotations

import re
from typing import Literal

Mode = Literal["min", "max"]


def _listed(text: str, mode: Mode) -> dict[str, Mode]:
    """One of each term, which commas divide."""
    return dict.fromkeys(re.split(r"\s*,\s*", text.strip()), mode)


# Terms of several words mean together what their words alone do not.
_MODES = _listed(
    """
    loss, losses, logloss, error, errors, err, mistakes, misses, miss, penalty, cost, costs, risk, regret,
    residual, residuals, mae, mse, rmse, nrmse, msle, rmsle, mape, smape, wmape, wape, mase, rse, rase, ergas,
    ade, fde, epe, nll, ce, bce, xent, crossentropy, cross entropy, perplexity, ppl, bpb, bpc, bpd, bits per,
    nats per, kl, kld, jsd, divergence, deviance, hinge, brier, ece, mce, crps, ranked probability,
    wer, cer, mer, ter, der, eer, edit rate, info lost, fid, kid, lpips, dists, patch similarity,
    texture similarity, distance, hamming, hausdorff, chamfer, levenshtein, disparity, bouldin,
    fpr, fnr, fall out, false alarm, false positive, false positives, false negative, false negatives,
    latency, runtime, duration, time, seconds, violations, failures
    """,
    "min",
) | _listed(
    """
    accuracy, accuracies, acc, f1, f2, fbeta, auc, auroc, auprc, rocauc, prauc, ap, map, mrr, ndcg, dcg,
    iou, miou, giou, diou, ciou, intersection over union, jaccard, dice, quality,
    recall, precision, sensitivity, specificity, tpr, tnr, ppv, npv, negative predictive value,
    true positive, true positives, true negative, true negatives, informedness,
    kappa, mcc, corr coef, correlation coefficient,
    bleu, sacrebleu, rouge, rougel, rougelsum, meteor, chrf, cider, spice, bertscore, squad, info preserved,
    r2, explained variance, psnr, ssim, msssim, snr, sdr, sisnr, sisdr, signal noise ratio,
    signal distortion ratio, pesq, stoi, intelligibility, mos, pearson, spearman, kendall, correlation, corr,
    similarity, agreement, likelihood, elbo, reward, rewards, return, returns, success, wins, winrate,
    win rate, elo, hits, hit rate, correct, match, pass, fitness, profit, sharpe, ari, nmi, ami, purity,
    homogeneity, completeness, silhouette, throughput, fps, per second, per sec, speedup
    """,
    "max",
)
_PHRASES = [term.split() for term in _MODES if " " in term]
_NEGATED = {"neg", "negative", "negated"}
# How a metric is spread or changes is no measure of quality, whatever the metric.
_CHANGED = {
    "std",
    "stddev",
    "stderr",
    "var",
    "variance",
    "gap",
    "diff",
    "difference",
    "delta",
    "change",
    "drop",
}
_CHANGED |= {"minus", "inverse", "inv", "non"}
# Nor is what ends in one of these.
_OTHERWISE = {"scale", "weight", "weights", "coef", "coefficient", "factor", "threshold", "count", "norm"}
_STAGES = {"val", "valid", "validation", "eval", "evaluation", "dev", "epoch"}


def direction(name: str) -> Mode | None:
    """Whether a metric of this name is better lower or higher; None where its words do not say.

    Of several words the last one counts, as it is what the others describe: a `dice_loss` is a loss.
    """
    terms = _terms(_words(name))
    # The 1 is that of 1-accuracy.
    if not terms or terms[0] == "1" or terms[-1] in _OTHERWISE or not _CHANGED.isdisjoint(terms):
        return None
    if not _NEGATED.isdisjoint(terms):
        return _negated(terms)
    modes = [_MODES[term] for term in terms if term in _MODES]
    # Anything can have a score, an error or a distance among them.
    return modes[-1] if modes else "max" if terms[-1] in ("score", "scores") else None


def is_validation_loss(name: str) -> bool:
    """Whether it is the loss of the validation, however a project spells it: `val/loss`, `valLoss`."""
    return [word for word in _words(name) if word not in _STAGES] == ["loss"]


def _negated(terms: list[str]) -> Mode | None:
    """The negative of a likelihood falls, and scikit-learn's of an error rises."""
    if not {"likelihood", "elbo"}.isdisjoint(terms):
        return "min"
    # A neg_loss or neg_accuracy may be that of the negatives.
    rises = terms[0] in _NEGATED and any(_MODES.get(term) == "min" for term in terms[2:])
    return "max" if rises else None


def _terms(words: list[str]) -> list[str]:
    """The words, those that mean something together joined."""
    terms: list[str] = []
    while words:
        length = next((len(p) for p in _PHRASES if words[: len(p)] == p), 1)
        terms.append(" ".join(words[:length]))
        words = words[length:]
    return terms


def _words(name: str) -> list[str]:
    return [word for chunk in re.findall(r"[^\W_]+", name) for word in _of_chunk(chunk)]


def _of_chunk(chunk: str) -> list[str]:
    """`mean, squared, error` of `MeanSquaredError`; `mIoU`, `F1` and `BLEU4` are words as they stand."""
    whole = chunk.lower()
    for word in (whole, whole.rstrip("0123456789")):
        if word in _MODES:
            return [word]
    parts = re.findall(
        r"[^\W\d_]\d+(?=[A-Z]|$)|[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+", chunk.replace("IoU", "Iou")
    )
    return [part.lower() for part in parts]
