"""Standard errors and paired comparisons: against brute force, simulation, and what must hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.mle.compare import (
    Evaluation,
    Truth,
    compare,
    evaluate,
    influence_error,
    probability_better,
    standard_error,
)
from dojo.mle.delong import auc_influence, midranks
from dojo.mle.metrics import get_metric
from dojo.mle.resample import Resamples


def truth_of(name, y, classes=0, blocks=None):
    problem = "regression" if classes == 0 else "binary" if classes == 2 else "multiclass"
    metric = get_metric(name, problem).metric
    return Truth(name, metric.direction, y, classes, blocks, Resamples(len(y), blocks, seed=0))


def compared(truth, child, parent):
    return compare(truth, evaluate(truth, child), evaluate(truth, parent), child != parent)


def se_of(truth, p):
    return standard_error(evaluate(truth, p), truth.blocks, truth.units)


# --- DeLong -----------------------------------------------------------------------------------------------


def brute_force_delong(y, scores):
    """AUCs and their covariance by the definition: the kernel on every pair of a positive and a negative."""
    kernels = []
    for s in scores:
        a, b = s[y == 1][:, None], s[y == 0][None, :]
        kernels.append((a > b) + 0.5 * (a == b))
    aucs = [k.mean() for k in kernels]
    positives = np.cov([k.mean(axis=1) for k in kernels])
    negatives = np.cov([k.mean(axis=0) for k in kernels])
    return aucs, positives / (y == 1).sum() + negatives / (y == 0).sum()


@given(st.integers(0, 10_000), st.integers(2, 20), st.integers(2, 20), st.integers(2, 12))
def test_delong_covariance_agrees_with_the_definition(seed, positives, negatives, levels):
    rng = np.random.default_rng(seed)
    y = np.repeat([1, 0], [positives, negatives])
    scores = [rng.integers(0, levels, len(y)).astype(float) for _ in range(2)]
    aucs, covariance = brute_force_delong(y, scores)
    pairs = [auc_influence(y == 1, s) for s in scores]
    assert [auc for auc, _ in pairs] == pytest.approx(aucs)
    vectors = np.stack([v for _, v in pairs])
    assert vectors @ vectors.T / len(y) ** 2 == pytest.approx(covariance, abs=1e-12)


def test_midranks_share_ties():
    assert midranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_auc_of_one_class_is_refused():
    with pytest.raises(ValueError, match="both classes"):
        auc_influence(np.ones(3, dtype=bool), np.arange(3.0))


# --- standard errors --------------------------------------------------------------------------------------


def draw(name, rng, n):
    if name in ("rmse", "r2", "pearson", "medae", "spearman", "mae"):
        y = rng.normal(size=n)
        return y, y + rng.standard_t(6, size=n), 0
    if name in ("auc", "logloss", "average_precision", "brier"):
        y = (rng.random(n) < 0.3).astype(np.int64)
        y[:2] = (0, 1)
        return y, np.clip(1 / (1 + np.exp(-(2 * y - 1 + rng.normal(size=n)))), 1e-6, 1 - 1e-6), 2
    y = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    y[:3] = (0, 1, 2)
    if name == "auc_macro_ovr":
        table = rng.random((n, 3)) + 0.5 * np.eye(3)[y]
        return y, table / table.sum(axis=1, keepdims=True), 3
    return y, np.where(rng.random(n) < 0.6, y, rng.integers(0, 3, n)), 3


CALIBRATED = [
    *("rmse", "r2", "pearson", "medae", "spearman", "mae", "auc", "logloss", "average_precision", "brier"),
    *("auc_macro_ovr", "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "mcc", "qwk"),
]


@pytest.mark.parametrize("name", CALIBRATED)
def test_standard_error_is_the_spread_over_fresh_samples(name):
    """Over 200 samples of the same population the mean standard error is the spread of the scores."""
    rng = np.random.default_rng(7)
    values, errors = [], []
    for _ in range(200):
        y, p, k = draw(name, rng, 250)
        truth = truth_of(name, y, k)
        values.append(evaluate(truth, p).value)
        errors.append(se_of(truth, p))
    # The spread of 200 values is itself known to 5 %.
    assert np.mean(errors) == pytest.approx(np.std(values, ddof=1), rel=0.2)


@pytest.mark.parametrize("name", ["rmse", "auc", "f1_macro", "spearman"])
def test_probability_better_is_calibrated_when_there_is_no_difference(name):
    """Two equally good predictions: P(better) ≥ 0.8 comes up in about a fifth of the samples."""
    rng = np.random.default_rng(11)
    accepted = []
    for _ in range(300):
        y, child, k = draw(name, rng, 150)
        if k == 0:
            parent = y + rng.standard_t(6, size=150)
        elif k == 2:
            parent = np.clip(1 / (1 + np.exp(-(2 * y - 1 + rng.normal(size=150)))), 1e-6, 1 - 1e-6)
        else:
            parent = np.where(rng.random(150) < 0.6, y, rng.integers(0, 3, 150))
        accepted.append(compared(truth_of(name, y, k), child, parent).p_better >= 0.8)
    assert 0.13 <= np.mean(accepted) <= 0.27


def test_standard_error_of_a_mean_is_the_textbook_one():
    y = np.array([1.0, 2.0, 3.0, 4.0])
    p = np.array([1.5, 2.0, 5.0, 4.5])
    losses = np.abs(y - p)
    assert se_of(truth_of("mae", y), p) == pytest.approx(losses.std(ddof=1) / 2)


def test_one_row_has_no_standard_error():
    assert se_of(truth_of("mae", np.array([1.0])), np.array([2.0])) is None


def test_blocks_of_equal_rows_count_once():
    rng = np.random.default_rng(3)
    y, p = rng.normal(size=40), rng.normal(size=40)
    single = se_of(truth_of("mae", y), p)
    blocks = np.repeat(np.arange(40), 5)
    repeated = truth_of("mae", np.repeat(y, 5), blocks=blocks)
    assert se_of(repeated, np.repeat(p, 5)) == pytest.approx(single, rel=0.02)
    ignored = se_of(truth_of("mae", np.repeat(y, 5)), np.repeat(p, 5))
    assert ignored < 0.5 * single
    by_resamples = truth_of("medae", np.repeat(y, 5), blocks=blocks)
    assert se_of(by_resamples, np.repeat(p, 5)) == pytest.approx(se_of(truth_of("medae", y), p), rel=0.3)


def test_one_block_has_no_standard_error_and_proves_little():
    blocks = np.zeros(10, dtype=np.int64)
    truth = truth_of("mae", np.zeros(10), blocks=blocks)
    assert se_of(truth, np.ones(10)) is None
    assert compared(truth, np.full(10, 0.5), np.ones(10)).p_better == pytest.approx(0.75)


def test_influence_error_does_not_overflow():
    assert influence_error(np.array([1e200, -1e200]), None) == pytest.approx(np.sqrt(0.5) * 1e200)


# --- comparisons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sign"), [("rmse", 1), ("r2", 1), ("pearson", 1), ("medae", 1), ("spearman", 1)]
)
def test_delta_is_positive_when_the_child_is_better(name, sign):
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    good, bad = y + 0.3 * rng.normal(size=400), y + rng.normal(size=400)
    truth = truth_of(name, y)
    better, worse = compared(truth, good, bad), compared(truth, bad, good)
    assert better.delta > 0 and better.p_better > 0.99
    assert worse.delta == -better.delta and worse.p_better == pytest.approx(1 - better.p_better)
    assert worse.se == better.se


@pytest.mark.parametrize(
    ("name", "method"),
    [("rmse", "paired"), ("auc", "delong"), ("average_precision", "resample"), ("qwk", "paired")],
)
def test_method_is_recorded(name, method):
    y, p, k = draw(name, np.random.default_rng(0), 100)
    child = p[::-1].copy()
    assert compared(truth_of(name, y, k), child, p).method == method


@pytest.mark.parametrize("name", CALIBRATED)
def test_identical_predictions(name):
    y, p, k = draw(name, np.random.default_rng(0), 50)
    result = compared(truth_of(name, y, k), p, p.copy())
    assert (result.method, result.p_better, result.delta, result.se, result.n) == (
        "identical",
        0.5,
        0.0,
        0.0,
        50,
    )


def test_pairing_makes_a_small_shared_gain_visible():
    rng = np.random.default_rng(1)
    y = rng.normal(size=500)
    parent = y + rng.normal(size=500)
    child = y + 0.97 * (parent - y)
    result = compared(truth_of("rmse", y), child, parent)
    assert result.p_better > 0.99
    assert result.se < 0.2 * se_of(truth_of("rmse", y), parent)


def test_paired_rmse_error_agrees_with_a_bootstrap():
    rng = np.random.default_rng(2)
    y = rng.normal(size=300)
    shared = rng.normal(size=300)
    child, parent = y + shared + 0.5 * rng.normal(size=300), y + shared + 0.6 * rng.normal(size=300)
    truth = truth_of("rmse", y)
    deltas = []
    for rows in Resamples(300, seed=5, replicates=600).indices():
        at = truth_of("rmse", y[rows])
        deltas.append(evaluate(at, parent[rows]).value - evaluate(at, child[rows]).value)
    assert compared(truth, child, parent).se == pytest.approx(np.std(deltas), rel=0.12)


def test_one_changed_label_is_not_enough():
    y = np.zeros(1000, dtype=np.int64)
    y[:500] = 1
    parent = np.where(np.arange(1000) < 900, y, 1 - y)
    child = parent.copy()
    child[950] = y[950]
    assert compared(truth_of("accuracy", y, 2), child, parent).p_better == pytest.approx(0.75, abs=0.01)


def test_few_rows_that_all_improve_alike_prove_little():
    y = np.zeros(3)
    result = compared(truth_of("mae", y), np.full(3, 1.0), np.full(3, 2.0))
    assert result.se > 0
    assert 0.8 < result.p_better < 0.99


def test_difference_of_astronomic_scores_is_finite():
    y = np.zeros(4)
    child, parent = np.array([1.3e154, 0, 0, 0]), np.array([0, 1.3e154, 0, 1e150])
    truth = truth_of("mse", y)
    evaluations = [evaluate(truth, p) for p in (child, parent)]
    assert all(np.isfinite(e.value) for e in evaluations)
    result = compare(truth, *evaluations, child != parent)
    assert np.isfinite([result.delta, result.se, result.p_better]).all()


def test_one_row_gives_three_quarters():
    result = compared(truth_of("mae", np.zeros(1)), np.array([1.0]), np.array([2.0]))
    assert (result.delta, result.se) == (1.0, 1.0)
    assert result.p_better == pytest.approx(0.75)


def test_change_without_effect_is_a_coin():
    y = np.zeros(10)
    result = compared(truth_of("mae", y), np.full(10, -1.0), np.ones(10))
    assert (result.delta, result.p_better, result.method) == (0.0, 0.5, "paired")


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6), st.integers(0, 10_000))
def test_probability_better_is_a_probability_on_the_side_of_delta(delta, se, df):
    p = probability_better(delta, se, df)
    assert 0.0 <= p <= 1.0
    assert (p >= 0.5) == (delta >= 0) or abs(delta) / se < 1e-12


@given(st.integers(0, 10_000), st.sampled_from(CALIBRATED), st.integers(6, 30))
def test_any_comparison_is_finite_and_antisymmetric(seed, name, n):
    rng = np.random.default_rng(seed)
    y, p, k = draw(name, rng, n)
    other = draw(name, rng, n)[1]
    truth = truth_of(name, y, k)
    differs = (p != other).any(axis=1) if p.ndim == 2 else p != other
    forth = compare(truth, evaluate(truth, p), evaluate(truth, other), differs)
    back = compare(truth, evaluate(truth, other), evaluate(truth, p), differs)
    assert forth.delta == -back.delta
    assert forth.p_better == pytest.approx(1 - back.p_better)
    assert np.isfinite([forth.delta, forth.se, forth.gain]).all() and forth.se >= 0


def test_evaluations_of_different_kinds_cannot_be_compared():
    truth = truth_of("mae", np.zeros(3))
    with pytest.raises(ValueError, match="different kinds"):
        compare(
            truth,
            Evaluation(0.0, influence=np.zeros(3)),
            Evaluation(0.0, replicates=np.zeros(200)),
            np.ones(3, dtype=bool),
        )
