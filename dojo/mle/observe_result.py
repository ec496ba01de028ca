"""Facts about the last result: where and how the out-of-fold predictions are wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dojo.mle.observe_columns import FloatArray, Notes
from dojo.mle.observe_oof import Oof
from dojo.mle.observe_probe import (
    additive_share,
    bin_strength,
    correlation,
    explained,
    group_share,
    kurtosis,
    linear_share,
    neighbour_share,
    product_share,
    quantile_bins,
    ranks,
    skewness,
    spearman,
    tree_share,
)
from dojo.mle.observe_sample import Sample
from dojo.task import TaskSpec

_LOG_METRICS = frozenset({"rmsle", "msle"})


def fold_facts(notes: Notes, oof: Oof) -> None:
    """Spread of the loss between folds, and how much of it chance does not explain."""
    loss = (oof.residual**2).sum(axis=1)
    count = np.bincount(oof.fold)
    used = count > 0
    folds = int(used.sum())
    notes.add("oof_folds", folds, f"out-of-fold predictions of {folds} folds")
    if folds < 2 or count[used].min() < 5:
        return
    means = np.bincount(oof.fold, loss)[used] / count[used]
    spread = float(means.std(ddof=1) / max(1e-12, means.mean()))
    notes.add("fold_spread", spread, f"the squared error differs between folds by {spread:.1%} of its mean")
    expected = float((loss.var() / count[used]).mean())
    ratio = float(means.var(ddof=1) / max(1e-300, expected)) if expected > 0 else 0.0
    notes.add(
        "fold_excess",
        min(ratio, 1e6),
        f"the spread between folds is {ratio:.1f} times what chance gives (variance)",
    )


def structure_facts(
    notes: Notes, sample: Sample, keep: NDArray[np.bool_], residual: FloatArray, seed: int
) -> None:
    """What simple models can still explain of the residuals, on rows they have not seen.

    Args:
        notes: where to add to.
        sample: prepared training rows.
        keep: which of them have a prediction.
        residual: truth minus prediction of those (rows × outputs).
        seed: of the random halves.
    """
    matrix, bins = sample.view.matrix[keep], sample.bins[keep]
    if residual.shape[1] > 6:  # the outputs with the largest residuals
        residual = residual[:, np.argsort(-residual.var(axis=0), kind="stable")[:6]]
    # A few huge residuals would hide the structure of all others.
    residual = np.clip(residual, *np.quantile(residual, [0.01, 0.99], axis=0))
    whole = bool(keep.all())
    linear = linear_share(matrix, residual, seed)
    additive = additive_share(bins, residual, seed)
    tree = tree_share(matrix, residual, seed)
    notes.add("residual_linear", linear, f"a linear model still explains {linear:.1%} of the residuals")
    notes.add(
        "residual_additive", additive, f"one-variable steps still explain {additive:.1%} of the residuals"
    )
    notes.add(
        "residual_tree",
        tree,
        f"a shallow tree on the raw features still explains {tree:.1%} of the residuals",
    )
    gap = max(0.0, tree - max(additive, linear), product_share(matrix, bins, residual, seed))
    notes.add(
        "residual_interaction",
        gap,
        f"interactions explain {gap:.1%} of the residuals beyond single variables",
    )
    if whole:
        near = neighbour_share(sample.near, residual)
        notes.add(
            "residual_neighbours", near, f"the nearest rows' residuals explain {near:.1%} of a row's residual"
        )
    if matrix.shape[1]:
        spread = np.maximum(residual.std(axis=0), 1e-12)
        cross = np.abs(matrix.T @ ((residual - residual.mean(axis=0)) / spread)) / len(residual)
        top = int(np.argmax(cross.max(axis=1)))
        name = sample.view.names[top]
        notes.add(
            "residual_top_correlation",
            float(cross.max()),
            f"residuals correlate {cross.max():.2f} with {name}",
        )
        main = residual[:, int(np.argmax(residual.var(axis=0)))]
        single = bin_strength(bins, main) / max(1e-300, float(((main - main.mean()) ** 2).sum()))
        top = int(np.argmax(single))
        name, share = sample.view.names[top], max(0.0, float(single[top]) - 7.0 / len(main))
        notes.add(
            "residual_top_feature", name, f"{name} explains most of the residuals of all single features"
        )
        notes.add("residual_top_share", share, f"{name} alone explains {share:.1%} of the residuals")
    for what, groups in (("category", sample.labels), ("season", sample.seasons)):
        if groups:
            shares = {name: group_share(code[keep], residual) for name, code in groups.items()}
            name = max(shares, key=lambda n: (shares[n], n))
            notes.add(
                f"residual_{what}",
                shares[name],
                f"levels of {name} explain {shares[name]:.1%} of the residuals",
            )
    if sample.place is not None and whole:
        share = neighbour_share(sample.place, residual)
        notes.add("residual_place", share, f"neighbours on the map explain {share:.1%} of a row's residual")


def error_facts(notes: Notes, sample: Sample, keep: NDArray[np.bool_], loss: FloatArray) -> None:
    """Which rows have large errors: long texts, many gaps."""
    if sample.length is not None:
        link = spearman(sample.length[keep], loss)
        notes.add(
            "error_text_length", link, f"the error's rank correlation with the text's length is {link:.2f}"
        )
    if sample.gaps is not None:
        link = spearman(sample.gaps[keep], loss)
        notes.add(
            "error_missing", link, f"the error's rank correlation with the number of gaps is {link:.2f}"
        )


def number_result(notes: Notes, spec: TaskSpec, oof: Oof) -> FloatArray:
    """Facts about predictions of numbers. Returns the residuals on the scale the metric looks at."""
    truth, guess = oof.truth[:, 0], oof.guess[:, 0]
    log = spec.metric.name.lower() in _LOG_METRICS
    y = np.log1p(np.maximum(truth, 0)) if log else truth
    p = np.log1p(np.maximum(guess, 0)) if log else guess
    where = " on the log scale" if log else ""
    residual = y - p
    scale = max(float(y.std()), 1e-12)
    r2 = max(-1.0, 1.0 - float((residual**2).sum() / max(1e-300, float(((y - y.mean()) ** 2).sum()))))
    notes.add("r2", r2, f"predictions explain {max(0.0, r2):.1%} of the target's variance{where}")
    distinct = len(np.unique(guess))
    notes.add("distinct_predictions", distinct, f"{distinct} distinct predictions")
    bias = float(residual.mean()) / scale
    notes.add("bias", bias, f"predictions are off by {bias:+.2f} standard deviations on average{where}")
    middle = float(np.median(residual)) / scale
    notes.add("median_residual", middle, f"the median residual is {middle:+.2f} standard deviations{where}")
    notes.add(
        "residual_skew", skewness(residual), f"the residuals are skewed by {skewness(residual):.2f}{where}"
    )
    notes.add(
        "residual_kurtosis",
        kurtosis(residual),
        f"the residuals' excess kurtosis is {kurtosis(residual):.1f}{where}",
    )
    if p.std() > 1e-9 * scale:
        centred = (p - p.mean()) / scale
        slope = float((residual / scale * centred).mean() / float((centred**2).mean()))
        told = "too timid" if slope > 0 else "too bold"
        notes.add(
            "residual_slope",
            max(-5.0, min(5.0, slope)),
            f"residuals change by {slope:+.2f} per unit of prediction ({told} if far from 0)",
        )
        bins = quantile_bins(p[:, None])[:, 0]
        curve = group_share(bins, residual[:, None])
        notes.add(
            "residual_curve", curve, f"the level of the prediction explains {curve:.1%} of the residuals"
        )
    spread = spearman(np.abs(truth - guess), guess)
    notes.add(
        "heteroscedasticity",
        spread,
        f"the size of the error has rank correlation {spread:.2f} with the prediction",
    )
    tail = np.sort(residual**2)
    top = max(1, len(tail) // 20)
    share = float(tail[-top:].sum() / max(1e-300, tail.sum()))
    notes.add(
        "tail_error_share", share, f"the worst 5% of the rows make {share:.0%} of the squared error{where}"
    )
    high = truth >= np.quantile(truth, 0.9)
    share = float((residual[high] ** 2).sum() / max(1e-300, float((residual**2).sum())))
    notes.add(
        "high_target_error", share, f"the 10% largest targets make {share:.0%} of the squared error{where}"
    )
    outside = float(((guess < truth.min()) | (guess > truth.max())).mean())
    notes.add(
        "range_overflow", outside, f"{outside:.1%} of the predictions lie outside the range of the target"
    )
    if bool(np.all(truth == np.round(truth))) and len(np.unique(truth)) <= 30:
        before, after = float(np.abs(truth - guess).mean()), float(np.abs(truth - np.round(guess)).mean())
        gain = (before - after) / max(1e-12, before)
        notes.add(
            "rounding_gain", gain, f"rounding to whole numbers changes the absolute error by {-gain:+.1%}"
        )
    return residual[:, None]


def order_facts(notes: Notes, oof: Oof, order: FloatArray | None, residual: FloatArray) -> None:
    """Whether residuals of consecutive rows hang together, in time order where there is one."""
    ordered = residual[:, int(np.argmax(residual.var(axis=0)))]
    if order is not None:
        ordered = ordered[np.argsort(order[oof.rows], kind="stable")]
    if len(ordered) <= 30:
        return
    lag = correlation(ordered[1:], ordered[:-1])
    what = "in time" if order is not None else "in the file"
    notes.add(
        "residual_autocorrelation", lag, f"residuals of rows next to each other {what} correlate {lag:.2f}"
    )
    third = len(ordered) // 3
    drift = float(ordered[-third:].mean() - ordered[:third].mean()) / max(1e-12, float(ordered.std()))
    notes.add(
        "residual_drift",
        drift,
        f"residuals move by {drift:+.2f} standard deviations from first to last third",
    )


def class_result(notes: Notes, spec: TaskSpec, oof: Oof) -> FloatArray:
    """Facts about predictions of classes. Returns the loss per row (Brier, or 0/1 for labels)."""
    label, guessed = oof.label, oof.guessed
    classes = max(2, len(spec.classes))
    hit = label == guessed
    count = np.bincount(label, minlength=classes)
    accuracy, majority = float(hit.mean()), float(count.max() / len(label))
    notes.add("accuracy", accuracy, f"{accuracy:.1%} of the predicted classes are right")
    lift = (accuracy - majority) / max(1e-12, 1.0 - majority)
    notes.add(
        "accuracy_lift",
        max(-5.0, lift),
        f"accuracy {accuracy:.3f} against {majority:.3f} for always the most common class",
    )
    recall = np.bincount(label[hit], minlength=classes) / np.maximum(count, 1)
    present = np.flatnonzero(count)
    rarest = int(present[np.argmin(count[present])])
    notes.add(
        "minority_recall",
        recall[rarest],
        f"{recall[rarest]:.1%} of the rarest class ({spec.classes[rarest]}) are found",
    )
    rare = present[np.argsort(count[present], kind="stable")][: max(1, len(present) // 2)]
    notes.add(
        "rare_recall",
        recall[rare].mean(),
        f"the rarer half of the classes has a mean recall of {recall[rare].mean():.2f}",
    )
    chosen = np.bincount(guessed, minlength=classes)
    ratio = float(chosen[rarest] / max(1, count[rarest]))
    notes.add(
        "minority_ratio", ratio, f"the rarest class is predicted {ratio:.2f} times as often as it occurs"
    )
    never = int(((chosen == 0) & (count > 0)).sum())
    notes.add("classes_never_predicted", never, f"{never} classes are never predicted")
    wrong = ~hit
    if classes > 2 and wrong.any():
        pair = np.minimum(label, guessed)[wrong] * classes + np.maximum(label, guessed)[wrong]
        number = np.bincount(pair)
        top = int(np.argmax(number))
        share = float(number[top] / wrong.sum())
        a, b = spec.classes[top // classes], spec.classes[top % classes]
        notes.add("confusion_top", share, f"{share:.0%} of the errors confuse {a} and {b}")
    if spec.metric.needs == "label":
        return np.asarray(wrong, float)[:, None]
    probability_facts(notes, oof, hit)
    return np.asarray((oof.residual**2).sum(axis=1), float)[:, None]


def probability_facts(notes: Notes, oof: Oof, hit: NDArray[np.bool_]) -> None:
    """Calibration and ranking of predicted probabilities."""
    binary = oof.guess.shape[1] == 1
    if binary:
        p, y = oof.guess[:, 0], oof.truth[:, 0]
        confidence = np.maximum(p, 1 - p)
        positives = int(y.sum())
        if 0 < positives < len(y):
            auc = float(
                (ranks(p)[y > 0.5].sum() - positives * (positives + 1) / 2)
                / (positives * (len(y) - positives))
            )
            notes.add("auc", auc, f"a positive row is ranked above a negative one with probability {auc:.3f}")
            brier = explained(y[:, None], p[:, None])
            notes.add("brier_skill", brier, f"probabilities explain {brier:.1%} of the outcome's variance")
        ties = 1.0 - len(np.unique(p)) / len(p)
        notes.add("tied_share", ties, f"{ties:.0%} of the predicted probabilities repeat an earlier one")
    else:
        p, y = oof.guess.max(axis=1), hit.astype(float)
        confidence = p
    over = float(confidence.mean() - hit.mean())
    notes.add(
        "overconfidence", over, f"mean confidence {confidence.mean():.3f} against accuracy {hit.mean():.3f}"
    )
    order = np.array_split(np.argsort(p, kind="stable"), 10)
    # A rate of n rows differs from a right prediction by chance; that mean absolute deviation is taken off.
    ece = 0.0
    for rows in order:
        if len(rows):
            mean, rate = float(p[rows].mean()), float(y[rows].mean())
            chance = np.sqrt(2.0 / np.pi * max(mean * (1.0 - mean), 0.0) / len(rows))
            ece += len(rows) / len(p) * max(0.0, abs(mean - rate) - float(chance))
    notes.add(
        "calibration_error",
        ece,
        f"predicted and observed rates differ by {ece:.3f} on average beyond chance",
    )
    slope = calibration_slope(p, y)
    told = "too bold" if slope < 1 else "too timid"
    notes.add("calibration_slope", slope, f"the calibration slope is {slope:.2f} ({told} if far from 1)")


def calibration_slope(p: FloatArray, y: FloatArray) -> float:
    """Slope of a logistic regression of the outcome on the logit of the prediction (Cox 1958); 1 is ideal."""
    if y.min() == y.max():
        return 1.0
    clipped = np.clip(p, 1e-4, 1 - 1e-4)
    logit = np.log(clipped / (1 - clipped))
    if logit.std() < 1e-9:
        return 1.0
    x = np.column_stack([np.ones_like(logit), logit])
    w = np.array([0.0, 1.0])
    for _ in range(12):
        q = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        hessian = (x * (q * (1 - q))[:, None]).T @ x + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, x.T @ (y - q))
        w += np.clip(step, -2, 2)
        if float(np.abs(step).max()) < 1e-4:
            break
    return float(np.clip(w[1], -10, 10))
