"""Standard errors of scores, and paired comparisons of two submissions on the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from dojo.mle.delong import Floats
from dojo.mle.influence import DELONG, influence
from dojo.mle.resample import BATCHED, Indices, Resamples, replicate
from dojo.mle.scorers import Values, compute, ovr_classes
from dojo.score import Comparison, Direction

_FEWEST_REPLICATES = 20
_LARGEST = float(np.finfo(np.float64).max)

Method = Literal["paired", "delong", "resample"]


@dataclass(frozen=True)
class Truth:
    """The answers of one view, ready for scoring.

    Attributes:
        metric: name of a registered metric.
        direction: which way it is better.
        y: answers, shape (n,): float64 values or int64 class codes.
        classes: number of classes; 0 for numeric targets.
        blocks: shape (n,) codes 0 … b-1 of rows that belong together (a group, a stretch of time), or None.
        resamples: the view's bootstrap resamples.
    """

    metric: str
    direction: Direction
    y: Values
    classes: int
    blocks: Indices | None
    resamples: Resamples

    @property
    def units(self) -> int:
        """Independent units: blocks where there are any, else rows; for AUC those of the rarest class."""
        if self.metric in DELONG:
            counts = np.bincount(self.y, minlength=max(2, self.classes))
            rarest = min(
                min(counts[c], len(self.y) - counts[c]) for c in ovr_classes(self.y, max(2, self.classes))
            )
            return int(rarest) if self.blocks is None else min(int(rarest), count_blocks(self.blocks))
        return len(self.y) if self.blocks is None else count_blocks(self.blocks)


@dataclass(frozen=True)
class Evaluation:
    """One prediction's score with what is needed to tell how sure it is.

    Exactly one of `influence` (n,) and `replicates` (r,) is set.
    """

    value: float
    influence: Floats | None = None
    replicates: Floats | None = None


def count_blocks(blocks: Indices) -> int:
    """Number of blocks, given codes 0 … b-1."""
    return int(blocks.max()) + 1


def evaluate(truth: Truth, p: Values) -> Evaluation:
    """Score a prediction; see `dojo.mle.scorers` for the shapes of `p`."""
    value = compute(truth.metric, truth.y, p, truth.classes)
    if truth.metric in BATCHED:
        return Evaluation(value, replicates=replicate(truth.metric, truth.y, p, truth.resamples))
    return Evaluation(value, influence=influence(truth.metric, truth.y, p, truth.classes))


def influence_error(values: Floats, blocks: Indices | None) -> float | None:
    """Standard error from an influence vector; cluster-robust by blocks. None for fewer than two units.

    With b blocks, se² = b/(b-1) · Σ over blocks of (sum of the block's influence)² / n².
    Source: Liang and Zeger 1986 (Biometrika 73:13-22), with the usual small-sample factor.
    """
    n, factor = len(values), 1.0
    if blocks is not None:
        values = np.bincount(blocks, weights=values).astype(np.float64)
        factor = np.sqrt(len(values) / (len(values) - 1)) if len(values) > 1 else 0.0
    largest = float(np.abs(values).max())
    if len(values) < 2:
        return None
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    scaled = values / largest  # so that squares of large influences do not overflow
    return float(np.sqrt(scaled @ scaled) * largest / n * factor)


def replicate_error(replicates: Floats) -> float | None:
    """Standard deviation over the resamples on which the metric is defined; None for too few of them."""
    usable = replicates[np.isfinite(replicates)]
    return float(usable.std(ddof=1)) if len(usable) >= _FEWEST_REPLICATES else None


def standard_error(evaluation: Evaluation, blocks: Indices | None, units: int) -> float | None:
    """The standard error of a score; None for fewer than two independent units."""
    if units < 2:
        return None
    if evaluation.influence is not None:
        return influence_error(evaluation.influence, blocks)
    return replicate_error(evaluation.replicates) if evaluation.replicates is not None else None


def probability_better(delta: float, se: float, df: float) -> float:
    """P(the true difference is positive), from Student's t with `df` degrees of freedom."""
    if delta == 0.0:
        return 0.5
    return float(stdtr(max(1.0, df), delta / se)) if se > 0 else float(delta > 0)


def compare(truth: Truth, child: Evaluation, parent: Evaluation, differs: NDArray[np.bool_]) -> Comparison:
    """Compare two evaluations of a registered metric on the same rows; see `paired_comparison`."""
    method: Method = "resample" if child.replicates is not None else "paired"
    if truth.metric in DELONG:
        method = "delong"
    return paired_comparison(truth.direction, truth.units, truth.blocks, child, parent, differs, method)


def custom_comparison(
    direction: Direction,
    blocks: Indices | None,
    child: Evaluation,
    parent: Evaluation,
    differs: NDArray[np.bool_],
) -> Comparison:
    """Compare two evaluations of a task's own metric on the same rows; see `paired_comparison`."""
    units = len(differs) if blocks is None else count_blocks(blocks)
    method: Method = "resample" if child.replicates is not None else "paired"
    return paired_comparison(direction, units, blocks, child, parent, differs, method)


def paired_comparison(
    direction: Direction,
    units: int,
    blocks: Indices | None,
    child: Evaluation,
    parent: Evaluation,
    differs: NDArray[np.bool_],
    method: Method,
) -> Comparison:
    """Compare two evaluations on the same rows.

    Only rows whose predictions differ carry information, so the degrees of freedom are their number (of
    blocks holding such rows; for AUC at most the rows of the rarest class) less one, at least 1. The
    standard error is at least |delta|/units: were every row to improve by the same amount, few rows would
    still prove little. With one row nothing is known of the noise; it is taken to be as large as delta.

    Args:
        direction: which way the metric is better.
        units: independent units (rows or blocks).
        blocks: shape (n,), rows that belong together, or None.
        child: evaluation of the new submission.
        parent: evaluation of the one it is compared with.
        differs: shape (n,), rows whose predictions differ.
        method: what is recorded as the method.
    """
    n = len(differs)
    if not differs.any():
        return Comparison(delta=0.0, se=0.0, p_better=0.5, n=n, method="identical")
    delta = (1.0 if direction == "max" else -1.0) * (child.value - parent.value)
    changed = int(differs.sum()) if blocks is None else len(np.unique(blocks[differs]))
    if child.influence is not None and parent.influence is not None:
        with np.errstate(over="ignore", invalid="ignore"):
            se = influence_error(child.influence - parent.influence, blocks)
    elif child.replicates is not None and parent.replicates is not None:
        se = replicate_error(child.replicates - parent.replicates)
    else:
        raise ValueError("the two evaluations are of different kinds")
    delta = min(max(delta, -_LARGEST), _LARGEST)
    if se is None:
        se = abs(delta)
    # Two finite evaluations may yet have a difference that overflows.
    se = max(se, abs(delta) / units) if np.isfinite(se) else _LARGEST
    p_better = probability_better(delta, se, min(units, changed) - 1)
    return Comparison(delta=delta, se=se, p_better=p_better, n=n, method=method)
