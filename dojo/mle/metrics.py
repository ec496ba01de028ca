"""The registry of metrics: names, directions, what a submission must hold, and which problems they fit.

Only metadata lives here, so that importing it costs nothing; the computing is in `dojo.mle.scorers`.
A metric's direction is written down in this table and nowhere else.
"""

from __future__ import annotations

import difflib
from typing import Literal

from dojo.errors import TaskError
from dojo.model import Frozen
from dojo.score import Direction
from dojo.task import Metric, Problem

Needs = Literal["value", "label", "probability", "probabilities"]


class MetricInfo(Frozen):
    """What is known about one metric, resolved for one kind of problem.

    `bounds` are the lowest and highest value it can take (None: unbounded), `optimum` is its value for a
    perfect prediction.
    """

    metric: Metric
    problems: tuple[Problem, ...]
    description: str
    bounds: tuple[float | None, float | None]
    optimum: float
    aliases: tuple[str, ...] = ()


_NUMBER: tuple[Problem, ...] = ("regression", "forecast")
_BINARY: tuple[Problem, ...] = ("binary",)
_MULTI: tuple[Problem, ...] = ("multiclass",)
_CLASS: tuple[Problem, ...] = ("binary", "multiclass")
_POSITIVE = (0.0, None)
_UNIT = (0.0, 1.0)
_SIGNED = (-1.0, 1.0)


def _info(
    name: str,
    direction: Direction,
    needs: Needs,
    problems: tuple[Problem, ...],
    bounds: tuple[float | None, float | None],
    description: str,
    *aliases: str,
) -> MetricInfo:
    optimum = bounds[1] if direction == "max" else bounds[0]
    assert optimum is not None
    return MetricInfo(
        metric=Metric(name=name, direction=direction, needs=needs),
        problems=problems,
        description=description,
        bounds=bounds,
        optimum=optimum,
        aliases=aliases,
    )


_TABLE = (
    _info("rmse", "min", "value", _NUMBER, _POSITIVE, "root mean squared error", "root_mean_squared_error"),
    _info("mse", "min", "value", _NUMBER, _POSITIVE, "mean squared error", "mean_squared_error", "l2"),
    _info("mae", "min", "value", _NUMBER, _POSITIVE, "mean absolute error", "mean_absolute_error", "l1"),
    _info(
        "rmsle",
        "min",
        "value",
        _NUMBER,
        _POSITIVE,
        "root mean squared error of log(1 + value); predictions must be above -1",
        "root_mean_squared_log_error",
        "root_mean_squared_logarithmic_error",
    ),
    _info(
        "r2", "max", "value", _NUMBER, (None, 1.0), "coefficient of determination", "r2_score", "r_squared"
    ),
    _info(
        "mape",
        "min",
        "value",
        _NUMBER,
        _POSITIVE,
        "mean absolute percentage error, as a fraction",
        "mean_absolute_percentage_error",
    ),
    _info(
        "smape",
        "min",
        "value",
        _NUMBER,
        (0.0, 2.0),
        "symmetric mean absolute percentage error, mean of 2|y-p|/(|y|+|p|), as a fraction; 0/0 counts 0",
        "symmetric_mean_absolute_percentage_error",
    ),
    _info(
        "medae",
        "min",
        "value",
        _NUMBER,
        _POSITIVE,
        "median absolute error",
        "median_absolute_error",
    ),
    _info(
        "pearson",
        "max",
        "value",
        _NUMBER,
        _SIGNED,
        "Pearson correlation; a constant prediction counts 0",
        "pearsonr",
        "pearson_correlation",
        "correlation",
    ),
    _info(
        "spearman",
        "max",
        "value",
        _NUMBER,
        _SIGNED,
        "Spearman rank correlation; a constant prediction counts 0",
        "spearmanr",
        "spearman_correlation",
        "rank_correlation",
    ),
    _info("accuracy", "max", "label", _CLASS, _UNIT, "share of correct labels", "acc", "accuracy_score"),
    _info(
        "balanced_accuracy",
        "max",
        "label",
        _CLASS,
        _UNIT,
        "mean recall over the classes",
        "balanced_accuracy_score",
        "bac",
        "macro_recall",
    ),
    _info("f1", "max", "label", _BINARY, _UNIT, "F1 of the positive class", "f1_score", "f1_binary"),
    _info("f1_macro", "max", "label", _CLASS, _UNIT, "unweighted mean of the classes' F1", "macro_f1"),
    _info("f1_micro", "max", "label", _CLASS, _UNIT, "F1 of the pooled counts", "micro_f1"),
    _info(
        "f1_weighted", "max", "label", _CLASS, _UNIT, "mean of the classes' F1 by class size", "weighted_f1"
    ),
    _info(
        "mcc",
        "max",
        "label",
        _CLASS,
        _SIGNED,
        "Matthews correlation coefficient",
        "matthews_corrcoef",
        "matthews_correlation_coefficient",
        "phi",
    ),
    _info(
        "qwk",
        "max",
        "label",
        _CLASS,
        _SIGNED,
        "Cohen's kappa with quadratic weights; classes in their order of rank",
        "quadratic_weighted_kappa",
        "quadratic_kappa",
        "cohen_kappa_quadratic",
    ),
    _info(
        "auc",
        "max",
        "probability",
        _BINARY,
        _UNIT,
        "area under the ROC curve",
        "roc_auc",
        "roc_auc_score",
        "auroc",
        "area_under_roc",
    ),
    _info(
        "auc_macro_ovr",
        "max",
        "probabilities",
        _MULTI,
        _UNIT,
        "mean one-versus-rest area under the ROC curve",
        "roc_auc_ovr",
        "roc_auc_macro_ovr",
        "macro_auc",
    ),
    _info(
        "logloss",
        "min",
        "probability",
        _CLASS,
        _POSITIVE,
        "negative mean log-likelihood; rows of class probabilities are rescaled to sum to 1",
        "log_loss",
        "cross_entropy",
        "binary_logloss",
        "multi_logloss",
        "mlogloss",
    ),
    _info("brier", "min", "probability", _BINARY, _UNIT, "Brier score", "brier_score", "brier_score_loss"),
    _info(
        "average_precision",
        "max",
        "probability",
        _BINARY,
        _UNIT,
        "average precision (area under the precision-recall curve, step-wise)",
        "ap",
        "pr_auc",
        "auprc",
        "average_precision_score",
    ),
    _info(
        "gini",
        "max",
        "probability",
        _BINARY,
        _SIGNED,
        "normalised Gini coefficient, 2 * AUC - 1",
        "normalized_gini",
        "normalised_gini",
    ),
)
_BY_NAME = {info.metric.name: info for info in _TABLE}
_CANONICAL = {key: info.metric.name for info in _TABLE for key in (info.metric.name, *info.aliases)}


def _normalise(name: str) -> str:
    key = "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())
    # scikit-learn's `neg_…` scorers only flip the sign, which a metric's direction does here.
    return key.removeprefix("neg_")


def list_metrics(problem: Problem | None = None) -> tuple[MetricInfo, ...]:
    """All metrics, or those that fit one kind of problem, in the table's order."""
    return tuple(_for_problem(i, problem) for i in _TABLE if problem is None or problem in i.problems)


def _for_problem(info: MetricInfo, problem: Problem | None) -> MetricInfo:
    if info.metric.name == "logloss" and problem == "multiclass":
        metric = info.metric.model_copy(update={"needs": "probabilities"})
        return info.model_copy(update={"metric": metric})
    return info


def get_metric(name: str, problem: Problem) -> MetricInfo:
    """Look a metric up by its name or an alias (case, `-`, `_`, blanks and a leading `neg_` do not matter).

    Raises:
        TaskError: the name is unknown (near names are suggested), or the metric does not fit `problem`.
    """
    fitting = ", ".join(i.metric.name for i in list_metrics(problem))
    key = _normalise(name)
    if key not in _CANONICAL:
        near = dict.fromkeys(
            _CANONICAL[k] for k in difflib.get_close_matches(key, _CANONICAL, n=3, cutoff=0.6)
        )
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise TaskError(
            f"unknown metric {name[:60]!r}; {hint}metrics for a {problem} target: {fitting}", "metric"
        )
    info = _BY_NAME[_CANONICAL[key]]
    if problem not in info.problems:
        raise TaskError(
            f"{info.metric.name} is for {' or '.join(info.problems)} targets and this one is {problem}; "
            f"choose one of: {fitting}",
            "metric",
        )
    return _for_problem(info, problem)


def default_metric(problem: Problem, n_classes: int = 0, imbalance: float = 1.0) -> str:
    """The name of the metric taken when the user gives none.

    Args:
        problem: kind of problem.
        n_classes: number of classes; 0 for numeric targets.
        imbalance: rows of the largest class per row of the smallest, at least 1.

    Returns:
        rmse for regression, mae for forecasts, auc for two classes, accuracy for several, and f1_macro where
        one of several classes is at least five times as frequent as another (accuracy would ignore the rare).
    """
    if problem == "forecast":
        return "mae"
    if problem == "regression":
        return "rmse"
    if problem == "binary" and n_classes <= 2:
        return "auc"
    return "f1_macro" if imbalance >= 5.0 else "accuracy"
