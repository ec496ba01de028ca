"""Metrics: the registry, agreement with scikit-learn, and what must hold for any prediction."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as skm

from dojo.errors import TaskError
from dojo.mle.influence import CONFUSION_GRADIENTS, confusion_share, influence
from dojo.mle.metrics import default_metric, get_metric, list_metrics
from dojo.mle.resample import BATCHED, Resamples, replicate
from dojo.mle.scorers import SCORERS, compute, undefined_reason
from dojo.score import Score

PROBLEMS = ("regression", "binary", "multiclass", "forecast")
CASES = [(info, problem) for problem in PROBLEMS[:3] for info in list_metrics(problem)]
IDS = [f"{info.metric.name}-{problem}" for info, problem in CASES]


def truth_and_prediction(info, problem, n, seed, noise=1.0):
    """Answers, a prediction of the metric's kind that is perfect at noise 0, and the number of classes."""
    rng = np.random.default_rng(seed)
    if problem == "regression":
        y = rng.gamma(2.0, 1.0, n)
        return y, np.abs(y + noise * rng.normal(size=n)), 0
    k = 2 if problem == "binary" else 4
    y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)]) if n >= k else rng.integers(0, k, n)
    table = noise * rng.random((n, k))
    table[np.arange(n), y] += 1.0
    table /= table.sum(axis=1, keepdims=True)
    if info.metric.needs == "label":
        return y, table.argmax(axis=1), k
    return y, table[:, 1] if info.metric.needs == "probability" else table, k


def test_every_registered_metric_can_be_computed_and_no_other():
    assert {info.metric.name for info in list_metrics()} == set(SCORERS)


@pytest.mark.parametrize(
    ("given_name", "problem", "name"),
    [
        ("RMSE", "regression", "rmse"),
        ("neg_root_mean_squared_error", "forecast", "rmse"),
        ("roc_auc", "binary", "auc"),
        ("ROC-AUC", "binary", "auc"),
        ("log loss", "multiclass", "logloss"),
        ("neg_log_loss", "binary", "logloss"),
        ("quadratic_weighted_kappa", "multiclass", "qwk"),
        ("F1 macro", "multiclass", "f1_macro"),
    ],
)
def test_aliases(given_name, problem, name):
    assert get_metric(given_name, problem).metric.name == name


def test_aliases_are_unambiguous():
    keys = [key for info in list_metrics() for key in (info.metric.name, *info.aliases)]
    assert len(keys) == len(set(keys))


def test_logloss_needs_one_column_per_class_for_several_classes():
    assert get_metric("logloss", "binary").metric.needs == "probability"
    assert get_metric("logloss", "multiclass").metric.needs == "probabilities"
    assert {i.metric.needs for i in list_metrics("multiclass") if i.metric.name == "logloss"} == {
        "probabilities"
    }


def test_unknown_metric_suggests_near_names_and_lists_what_fits():
    with pytest.raises(
        TaskError, match=r"unknown metric 'rmsee'; did you mean rmse.*regression.*: rmse, mse"
    ):
        get_metric("rmsee", "regression")


def test_metric_of_another_problem_is_refused():
    with pytest.raises(TaskError, match=r"auc is for binary targets and this one is regression.*rmse"):
        get_metric("roc_auc", "regression")


@given(st.text(max_size=200), st.sampled_from(PROBLEMS))
def test_lookup_of_any_text_gives_a_metric_or_a_task_error(name, problem):
    try:
        assert problem in get_metric(name, problem).problems
    except TaskError as exc:
        assert "\n" not in exc.message or "\n" in name


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("imbalance", [1.0, 4.9, 50.0])
def test_default_metric_fits(problem, imbalance):
    assert (
        problem
        in get_metric(default_metric(problem, 2 if problem == "binary" else 5, imbalance), problem).problems
    )


def _better(info, a, b):
    def score(v):
        return Score(value=v, metric=info.metric.name, direction=info.metric.direction, split="test", n=1)

    return score(a).better_than(score(b))


@pytest.mark.parametrize(("info", "problem"), CASES, ids=IDS)
def test_perfect_is_optimal_and_better_than_noisy(info, problem):
    y, perfect, k = truth_and_prediction(info, problem, 300, 0, noise=0.0)
    _, noisy, _ = truth_and_prediction(info, problem, 300, 0, noise=5.0)
    best = compute(info.metric.name, y, perfect, k)
    assert best == pytest.approx(info.optimum, abs=1e-12)
    assert _better(info, best, compute(info.metric.name, y, noisy, k))


@pytest.mark.parametrize(("info", "problem"), CASES, ids=IDS)
@settings(max_examples=30)
@given(n=st.integers(8, 40), seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 20))
def test_within_bounds_and_independent_of_row_order(info, problem, n, seed, noise):
    y, p, k = truth_and_prediction(info, problem, n, seed, noise)
    value = compute(info.metric.name, y, p, k)
    low, high = info.bounds
    assert (low is None or value >= low - 1e-9) and (high is None or value <= high + 1e-9)
    order = np.random.default_rng(seed).permutation(n)
    assert compute(info.metric.name, y[order], p[order], k) == pytest.approx(value, rel=1e-9, abs=1e-9)
    vector = influence(info.metric.name, y, p, k)
    if vector is not None:
        shuffled = influence(info.metric.name, y[order], p[order], k)
        assert shuffled == pytest.approx(vector[order], rel=1e-6, abs=1e-9 * (1 + np.abs(vector).max()))


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])),
        min_size=2,
        max_size=60,
    )
)
def test_auc_and_gini_agree_with_scikit_learn_with_ties(rows):
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    if y.min() == y.max():
        assert "one class" in undefined_reason("auc", y)
        return
    reference = skm.roc_auc_score(y, p)
    assert compute("auc", y, p, 2) == pytest.approx(reference, abs=1e-12)
    assert compute("gini", y, p, 2) == pytest.approx(2 * reference - 1, abs=1e-12)


def test_macro_auc_agrees_with_scikit_learn():
    info = get_metric("auc_macro_ovr", "multiclass")
    y, p, k = truth_and_prediction(info, "multiclass", 500, 3, noise=4.0)
    reference = skm.roc_auc_score(y, p, multi_class="ovr", average="macro")
    assert compute("auc_macro_ovr", y, p, k) == pytest.approx(reference, abs=1e-12)


def test_macro_auc_skips_a_class_without_rows():
    y = np.array([0, 1, 0, 1])
    p = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1]])
    expected = (skm.roc_auc_score(y == 0, p[:, 0]) + skm.roc_auc_score(y == 1, p[:, 1])) / 2
    assert compute("auc_macro_ovr", y, p, 3) == pytest.approx(expected)


def test_correlations_agree_with_scipy_and_survive_huge_numbers():
    from scipy import stats

    rng = np.random.default_rng(1)
    y = np.round(rng.normal(size=200), 1)
    p = np.round(y + rng.normal(size=200), 1)
    assert compute("pearson", y, p) == pytest.approx(stats.pearsonr(y, p)[0])
    assert compute("spearman", y, p) == pytest.approx(stats.spearmanr(y, p)[0])
    assert compute("pearson", y, p * 1e300) == pytest.approx(stats.pearsonr(y, p)[0])
    assert compute("pearson", y, np.ones(200)) == 0.0


def test_smape_counts_zero_over_zero_as_zero():
    assert compute("smape", np.array([0.0, 1.0]), np.array([0.0, 3.0])) == pytest.approx(0.5)


def test_kappa_of_known_tables():
    y = np.array([0, 1, 2, 3, 4])
    assert compute("qwk", y, 4 - y, 5) == pytest.approx(-1.0)
    assert compute("qwk", y, np.full(5, 2), 5) == pytest.approx(0.0)


@pytest.mark.parametrize("name", sorted(CONFUSION_GRADIENTS))
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_confusion_gradients_agree_with_finite_differences(name, seed):
    """The influence of a row is the derivative of the metric in that row's weight."""
    rng = np.random.default_rng(seed)
    k = 2 if name == "f1" else int(rng.integers(2, 5))
    y = np.concatenate([np.arange(k), rng.integers(0, k, 30)])
    p = np.where(rng.random(len(y)) < 0.6, y, rng.integers(0, k, len(y)))
    n = len(y)
    if len(set(p)) < k:  # a class never predicted makes macro F1 depend on which classes count
        return
    gradient = CONFUSION_GRADIENTS[name](confusion_share(y, p, k))
    centred = gradient[y, p] - gradient[y, p].mean()
    copies = 500  # each row 500 times but one of them 501 times
    row = int(rng.integers(n))
    plain = compute(name, np.repeat(y, copies), np.repeat(p, copies), k)
    weights = np.full(n, copies)
    weights[row] += 1
    moved = compute(name, np.repeat(y, weights), np.repeat(p, weights), k)
    assert (moved - plain) * (n * copies + 1) == pytest.approx(centred[row], abs=2e-2)


@pytest.mark.parametrize("name", ["rmse", "rmsle", "r2", "pearson", "logloss", "brier", "mae"])
def test_influence_agrees_with_the_jackknife(name):
    problem = "binary" if name in ("logloss", "brier") else "regression"
    y, p, k = truth_and_prediction(get_metric(name, problem), problem, 400, 5)
    n = len(y)
    keep = ~np.eye(n, dtype=bool)
    leave_one_out = np.array([compute(name, y[rows], p[rows], k) for rows in keep])
    jackknife = np.sqrt((n - 1) / n * np.square(leave_one_out - leave_one_out.mean()).sum())
    vector = influence(name, y, p, k)
    assert np.sqrt(vector @ vector) / n == pytest.approx(jackknife, rel=0.05)
    assert vector.sum() == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("name", sorted(BATCHED))
@pytest.mark.parametrize("blocked", [False, True])
def test_batched_resamples_agree_with_one_by_one(name, blocked):
    problem = "binary" if name == "average_precision" else "regression"
    y, p, k = truth_and_prediction(get_metric(name, problem), problem, 60, 2)
    y, p = (y, np.round(p, 1)) if problem == "binary" else (np.round(y, 1), np.round(p, 1))  # ties
    blocks = np.arange(60) // 5 if blocked else None
    resamples = Resamples(60, blocks, seed=4, replicates=30)
    batched = replicate(name, y, p, resamples)
    single = [compute(name, y[rows], p[rows], k) for rows in resamples.indices()]
    assert batched == pytest.approx(np.array(single), abs=1e-12)


def test_resamples_are_seeded_and_keep_blocks_whole():
    blocks = np.repeat(np.arange(6), 3)
    first, again = (np.concatenate(list(Resamples(18, blocks, seed=9).counts())) for _ in range(2))
    assert (first == again).all()
    assert first.shape == (200, 18)
    assert (first.reshape(200, 6, 3) == first.reshape(200, 6, 3)[:, :, :1]).all()
    assert (first[:, ::3].sum(axis=1) == 6).all()


def test_number_of_resamples_falls_with_rows_and_stays_useful():
    assert [Resamples(n).replicates for n in (10, 200_000, 400_000, 10_000_000)] == [200, 200, 100, 50]


def test_large_resamples_come_in_chunks_with_the_same_draws():
    small = Resamples(50_000, seed=1)
    chunks = list(small.counts())
    assert len(chunks) > 1
    assert sum(len(c) for c in chunks) == 200
    assert (chunks[0] == next(iter(small.counts()))).all()


@pytest.mark.parametrize(
    ("name", "y"),
    [("r2", [1.0, 1.0]), ("pearson", [2.0, 2.0]), ("auc", [1, 1]), ("qwk", [0, 0]), ("rmsle", [-1.0, 2.0])],
)
def test_undefined_answers_are_named(name, y):
    assert undefined_reason(name, np.array(y))
    assert not undefined_reason(name, np.array([0, 1]))
