"""Rules on the target, class weights, thresholds, calibration, cross-validation, blends and forecasts."""

from __future__ import annotations

from typing import Any

from gome.mle.playbook.pipeline import PipelineSpec, apply, as_member
from gome.mle.playbook.rules.base import (
    LINEAR,
    TREES,
    Rule,
    Situation,
    above,
    at_least,
    below,
    family,
    is_set,
    metric,
    not_metric,
    not_set,
    single,
    size,
    under,
)

CLASSES = ("binary", "multiclass")
NUMBER = ("regression",)
RELATIVE = ("rmsle", "mape", "smape")
BALANCED = ("f1", "f1_macro", "balanced_accuracy", "mcc", "qwk")
PROPER = ("logloss", "brier")


def partner(situation: Situation) -> Any:
    """A member of another family that reads the same features: a smooth one beside trees, or trees beside it."""
    numeric = situation.task.problem == "regression"
    if situation.task.modality == "text" and situation.spec.model.family not in TREES:
        # Words and characters err differently, and both are cheap; trees drown in a term matrix.
        changes: dict[str, Any] = {
            "text.analyzer": "char" if situation.spec.text.analyzer == "word" else "word"
        }
    elif situation.spec.model.family in TREES:
        changes = {
            "model.family": "ridge" if numeric else "logistic",
            "numeric.imputation": "median",
            "numeric.scaling": "standard",
            "categorical.encoding": "onehot",
        }
    else:
        changes = {"model.family": "extra_trees", "model.extra_trees.trees": 200, "selection.method": "none"}
    return _members(situation, changes)


def tree_partner(situation: Situation) -> Any:
    """The other kind of trees: bagged beside boosted ones, boosted beside bagged ones."""
    boosted = situation.spec.model.family in ("lightgbm", "hist_gb")
    if not boosted and len(situation.task.classes) > 20:  # boosting fits a tree per class and round
        return None
    changes: dict[str, Any] = (
        {"model.family": "extra_trees", "model.extra_trees.trees": 200, "model.extra_trees.min_leaf": 2}
        if boosted
        else {"model.family": "lightgbm", "model.lightgbm.trees": 300, "model.lightgbm.learning_rate": 0.05}
    )
    if situation.spec.categorical.encoding == "native":
        changes["categorical.encoding"] = "ordinal"
    return _members(situation, changes)


def bayes_partner(situation: Situation) -> Any:
    """Naive Bayes on the same texts."""
    return _members(situation, {"model.family": "bayes", "numeric.scaling": "none"})


def _members(situation: Situation, changes: dict[str, Any]) -> Any:
    try:
        member: PipelineSpec = apply(as_member(situation.spec), changes)
    except ValueError:
        return None
    return [member.to_json()] if member.key() != as_member(situation.spec).key() else None


def third(situation: Situation) -> Any:
    """A third of the series, but at least four seasons."""
    length = situation.number("forecast_length") or 0
    season = situation.number("season_length") or 12
    window = int(max(4 * season, length / 3))
    return window if 24 <= window < length else None


RULES: tuple[Rule, ...] = (
    Rule(
        id="log-target-for-relative-error",
        component="target",
        cause="the metric counts relative errors while the model minimises absolute ones",
        hypothesis="Train on the logarithm of the target, whose 99th percentile is {target_ratio:.3g} times its 5th",
        edit={"target.transform": "log1p"},
        when=(at_least("target_min", 0),),
        where=(metric(*RELATIVE), not_set("target.transform", "log1p")),
        problems=NUMBER,
        gain=0.6,
    ),
    Rule(
        id="log-target-for-skew",
        component="target",
        cause="the target is right-skewed and the residuals grow with it",
        hypothesis="Train on the logarithm of the target: its skew is {target_skew:.2f} ({target_log_skew:.2f} after)",
        edit={"target.transform": "log1p"},
        when=(at_least("target_min", 0), above("target_skew", 0.9, 3), above("heteroscedasticity", 0.1, 0.5)),
        where=(is_set("target.transform", "none"),),
        problems=NUMBER,
        gain=0.1,
    ),
    Rule(
        id="root-target",
        component="target",
        cause="the target is skewed, but its logarithm is skewed the other way",
        hypothesis="Train on the square root of the target: the logarithm's skew is {target_log_skew:.2f}",
        edit={"target.transform": "sqrt"},
        when=(at_least("target_min", 0), above("target_skew", 0.7, 2), below("target_log_skew", -0.3, -1.5)),
        where=(not_set("target.transform", "sqrt"), not_metric(*RELATIVE)),
        problems=NUMBER,
        gain=0.08,
    ),
    Rule(
        id="power-target",
        component="target",
        cause="residuals are skewed and their size depends on the prediction",
        hypothesis="Fit the power of the target (Box and Cox): residuals are skewed by {residual_skew:.2f}",
        edit={"target.transform": "boxcox"},
        when=(size("residual_skew", 0.8, 3), size("heteroscedasticity", 0.1, 0.4)),
        where=(is_set("target.transform", "none"), not_metric(*RELATIVE)),
        problems=NUMBER,
        gain=0.06,
    ),
    Rule(
        id="rank-target",
        component="target",
        cause="the metric looks at order or correlation, the loss at a few extreme targets",
        hypothesis="Train on normal scores of the target: its excess kurtosis is {target_kurtosis:.1f}",
        edit={"target.transform": "rank"},
        when=(above("target_kurtosis", 1, 8),),
        where=(metric("spearman", "pearson"), not_set("target.transform", "rank")),
        problems=NUMBER,
        gain=0.05,
    ),
    Rule(
        id="plain-target",
        component="target",
        cause="means on the transformed scale are not means on the scale of the metric",
        hypothesis="Drop the transform of the target: predictions are off by {bias:+.2f} standard deviations",
        edit={"target.transform": "none"},
        when=(size("bias", 0.04, 0.3),),
        where=(not_set("target.transform", "none"), metric("rmse", "mse", "r2")),
        problems=NUMBER,
        gain=0.05,
    ),
    Rule(
        id="clip-predictions",
        component="post-processing",
        cause="some predictions lie where no target ever was",
        hypothesis="Clip predictions to the range of the target: {range_overflow:.1%} lie outside",
        edit={"post.clip": True},
        when=(above("range_overflow", 0.001, 0.02),),
        where=(is_set("post.clip", False),),
        problems=NUMBER,
        gain=0.02,
    ),
    Rule(
        id="round-predictions",
        component="post-processing",
        cause="targets are whole numbers, predictions are not",
        hypothesis="Round predictions, which changes the absolute error by {rounding_gain:.1%} out of fold",
        edit={"post.round": "integer"},
        when=(above("rounding_gain", 0.01, 0.1),),
        where=(is_set("post.round", "none"),),
        problems=NUMBER,
        gain=0.04,
    ),
    Rule(
        id="cut-points",
        component="post-processing",
        cause="the metric judges ordered levels, and the most likely level need not be the best guess",
        hypothesis="Tune cut points between the {classes:.0f} levels for the metric",
        edit={"post.round": "cutpoints"},
        when=(at_least("classes", 3),),
        where=(metric("qwk"), not_set("post.round", "cutpoints"), is_set("post.threshold", "none")),
        problems=("multiclass",),
        needs=("label",),
        gain=0.1,
    ),
    Rule(
        id="weight-classes",
        component="class balance",
        cause="the rare class hardly counts in the loss, yet in the metric it does",
        hypothesis="Weight classes by their rarity: {minority_recall:.0%} of the rarest class "
        "({minority_share:.1%} of the rows) are found",
        edit={"model.class_weight": "balanced"},
        when=(below("minority_recall", 0.7, 0.2), below("minority_share", 0.35, 0.05)),
        where=(metric(*BALANCED), is_set("model.class_weight", "none")),
        problems=CLASSES,
        gain=0.15,
    ),
    Rule(
        id="unweight-classes",
        component="class balance",
        cause="class weights distort the probabilities that the metric judges",
        hypothesis="Train on the true class frequencies (calibration error {calibration_error:.3f})",
        edit={"model.class_weight": "none"},
        when=(above("calibration_error", 0.02, 0.15),),
        where=(metric(*PROPER), is_set("model.class_weight", "balanced")),
        problems=CLASSES,
        gain=0.2,
    ),
    Rule(
        id="weight-classes-for-ranking",
        component="class balance",
        cause="rows of the rare class weigh too little to shape the ranking",
        hypothesis="Weight classes by their rarity ({minority_share:.1%} positive) for the ranking",
        edit={"model.class_weight": "balanced"},
        when=(below("minority_share", 0.15, 0.02),),
        where=(
            metric("auc", "average_precision", "gini"),
            is_set("model.class_weight", "none"),
            family("logistic", "svm", "forest", "extra_trees"),
        ),
        problems=("binary",),
        gain=0.03,
    ),
    Rule(
        id="tune-threshold",
        component="threshold",
        cause="one half is the wrong threshold for this metric",
        hypothesis="Tune the threshold out of fold: the rarest class is predicted {minority_ratio:.2f} times as often "
        "as it occurs",
        edit={"post.threshold": "tune"},
        when=(below("minority_share", 0.4, 0.05),),
        where=(metric(*BALANCED, "f1_weighted"), is_set("post.threshold", "none")),
        problems=CLASSES,
        needs=("label",),
        gain=0.15,
    ),
    Rule(
        id="calibrate-sigmoid",
        component="calibration",
        cause="probabilities are systematically off",
        hypothesis="Calibrate with a sigmoid: predicted and observed rates differ by {calibration_error:.3f}",
        edit={"post.calibration": "sigmoid"},
        when=(above("calibration_error", 0.015, 0.1),),
        where=(metric(*PROPER), is_set("post.calibration", "none")),
        needs=("probability", "probabilities"),
        gain=0.1,
    ),
    Rule(
        id="calibrate-isotonic",
        component="calibration",
        cause="probabilities are off in a way no sigmoid can mend",
        hypothesis="Calibrate by isotonic regression on {rows:.0f} rows",
        edit={"post.calibration": "isotonic"},
        when=(above("calibration_error", 0.02, 0.1), above("rows", 2000, 8000)),
        where=(metric(*PROPER), not_set("post.calibration", "isotonic")),
        needs=("probability", "probabilities"),
        gain=0.06,
    ),
    Rule(
        id="average-folds",
        component="cross-validation",
        cause="one refit model is one draw",
        hypothesis="Predict with the mean of five fold models on {rows:.0f} rows",
        edit={"cv.folds": 5, "cv.predict": "folds"},
        when=(below("rows", 30_000, 2000),),
        where=(is_set("cv.predict", "refit"), family(*TREES, "mlp")),
        problems=("regression", "binary", "multiclass"),
        gain=0.025,
        cost=1.7,
    ),
    Rule(
        id="blend-kinds",
        component="ensemble",
        cause="one kind of model has one kind of error",
        hypothesis="Blend with a model of another kind, weights fitted out of fold on {rows:.0f} rows",
        edit={"ensemble.method": "blend", "ensemble.optimize": True, "ensemble.members": partner},
        when=(above("rows", 60, 600),),
        where=(single, not_set("categorical.encoding", "native")),
        problems=("regression", "binary", "multiclass"),
        gain=0.05,
        cost=2.0,
    ),
    Rule(
        id="blend-trees",
        component="ensemble",
        cause="bagged trees err by variance, boosted ones by bias",
        hypothesis="Blend boosted with bagged trees, weights fitted out of fold on {rows:.0f} rows",
        edit={"ensemble.method": "blend", "ensemble.optimize": True, "ensemble.members": tree_partner},
        when=(above("rows", 200, 1500),),
        where=(single, family(*TREES)),
        modalities=("tabular",),
        problems=("regression", "binary", "multiclass"),
        gain=0.06,
        cost=2.0,
    ),
    Rule(
        id="blend-bayes",
        component="ensemble",
        cause="discriminative models of texts underrate rare words",
        hypothesis="Blend with naive Bayes on the same terms",
        edit={"ensemble.method": "blend", "ensemble.optimize": True, "ensemble.members": bayes_partner},
        when=(at_least("text_columns", 1),),
        where=(single, family(*LINEAR)),
        modalities=("text",),
        problems=CLASSES,
        gain=0.06,
        cost=1.5,
    ),
    Rule(
        id="season-and-level",
        component="forecast",
        cause="level, trend and season all move, while the model holds them fixed",
        hypothesis="Smooth level, trend and season exponentially: a season of {season_length} points explains "
        "{season_strength:.0%} of the series without its trend",
        edit={"forecast.method": "holt_winters"},
        when=(above("season_strength", 0.1, 0.5),),
        where=(not_set("forecast.method", "holt_winters"),),
        problems=("forecast",),
        gain=0.4,
        step="rewrite",
    ),
    Rule(
        id="season-by-waves",
        component="forecast",
        cause="the model of time knows no season",
        hypothesis="Add waves of the season ({season_length} points, {season_strength:.0%} of the detrended series)",
        edit={"forecast.method": "regression", "forecast.harmonics": 3},
        when=(above("season_strength", 0.1, 0.5),),
        where=(
            not_set("forecast.method", "holt_winters", "lags"),
            is_set("forecast.harmonics", 0),
            is_set("forecast.seasonal_dummies", False),
        ),
        problems=("forecast",),
        gain=0.35,
    ),
    Rule(
        id="season-by-position",
        component="forecast",
        cause="the season is no smooth wave",
        hypothesis="Give each of the {season_length} positions in the season its own level",
        edit={"forecast.method": "regression", "forecast.seasonal_dummies": True, "forecast.harmonics": 0},
        when=(above("season_strength", 0.1, 0.5), below("season_length", 60, 12)),
        where=(
            not_set("forecast.method", "holt_winters", "lags"),
            is_set("forecast.seasonal_dummies", False),
        ),
        problems=("forecast",),
        gain=0.25,
    ),
    Rule(
        id="curved-trend",
        component="forecast",
        cause="the trend bends",
        hypothesis="Fit a curved trend: it explains {trend_curvature:.0%} of what a straight line leaves",
        edit={"forecast.method": "regression", "forecast.degree": 2},
        when=(above("trend_curvature", 0.05, 0.5), above("trend_strength", 0.2, 0.9)),
        where=(
            not_set("forecast.method", "holt_winters", "lags"),
            under("forecast.degree", 2),
        ),
        problems=("forecast",),
        gain=0.35,
    ),
    Rule(
        id="anchor-level",
        component="forecast",
        cause="the fitted curve misses the level at which the series ends",
        hypothesis="Let the forecast start at the last level: neighbouring points correlate {series_persistence:.2f}",
        edit={"forecast.anchor": True},
        when=(above("series_persistence", 0.3, 0.8),),
        where=(is_set("forecast.anchor", False), is_set("forecast.method", "regression")),
        problems=("forecast",),
        gain=0.25,
    ),
    Rule(
        id="recent-window",
        component="forecast",
        cause="old years follow another trend",
        hypothesis="Fit the recent part only: its slope differs by {trend_change:+.2f} from the overall one",
        edit={"forecast.window": third},
        when=(size("trend_change", 0.1, 0.5),),
        where=(is_set("forecast.window", 0),),
        problems=("forecast",),
        gain=0.2,
    ),
    Rule(
        id="growing-season",
        component="forecast",
        cause="the season's swing grows with the level",
        hypothesis="Make the season multiplicative: its swing correlates {season_growth:.2f} with the level",
        edit={"forecast.method": "holt_winters", "forecast.seasonal": "multiplicative"},
        when=(above("season_growth", 0.3, 0.9), above("season_strength", 0.1, 0.5)),
        where=(not_set("forecast.seasonal", "multiplicative"),),
        problems=("forecast",),
        gain=0.12,
    ),
    Rule(
        id="damp-trend",
        component="forecast",
        cause="a straight trend runs on for ever",
        hypothesis="Damp the trend, whose recent slope differs by {trend_change:+.2f}",
        edit={"forecast.damped": True},
        when=(below("trend_change", -0.05, -0.5),),
        where=(is_set("forecast.method", "holt_winters"), is_set("forecast.damped", False)),
        problems=("forecast",),
        gain=0.06,
    ),
    Rule(
        id="learn-from-lags",
        component="forecast",
        cause="the next value depends on the last ones, not on the date",
        hypothesis="Predict changes from a season's lags: neighbouring points correlate {series_persistence:.2f}",
        edit={"forecast.method": "lags", "forecast.difference": True, "forecast.lags": 24},
        when=(above("series_persistence", 0.3, 0.9),),
        where=(not_set("forecast.method", "lags"),),
        problems=("forecast",),
        gain=0.1,
        step="rewrite",
        cost=2.0,
    ),
    Rule(
        id="season-repeats",
        component="forecast",
        cause="without a trend the last season is the best guess of the next",
        hypothesis="Repeat the last season of {season_length} points",
        edit={"forecast.method": "seasonal_naive"},
        when=(above("season_strength", 0.4, 0.9), below("trend_strength", 0.3, 0.05)),
        where=(is_set("forecast.method", "regression", "naive", "drift"),),
        problems=("forecast",),
        gain=0.15,
        step="rewrite",
    ),
)
