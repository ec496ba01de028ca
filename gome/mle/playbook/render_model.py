"""The model of a pipeline as a Python expression."""

from __future__ import annotations

from dojo.task import TaskSpec
from gome.mle.playbook.parts import Forest
from gome.mle.playbook.pipeline import PipelineSpec

IMPORTS = (
    "from lightgbm import LGBMClassifier",
    "from lightgbm import LGBMRegressor",
    "from lightgbm import early_stopping",
    "from sklearn.ensemble import ExtraTreesClassifier",
    "from sklearn.ensemble import ExtraTreesRegressor",
    "from sklearn.ensemble import HistGradientBoostingClassifier",
    "from sklearn.ensemble import HistGradientBoostingRegressor",
    "from sklearn.ensemble import RandomForestClassifier",
    "from sklearn.ensemble import RandomForestRegressor",
    "from sklearn.linear_model import BayesianRidge",
    "from sklearn.linear_model import ElasticNet",
    "from sklearn.linear_model import Lasso",
    "from sklearn.linear_model import LinearRegression",
    "from sklearn.linear_model import LogisticRegression",
    "from sklearn.linear_model import Ridge",
    "from sklearn.linear_model import RidgeClassifier",
    "from sklearn.naive_bayes import ComplementNB",
    "from sklearn.naive_bayes import GaussianNB",
    "from sklearn.neighbors import KNeighborsClassifier",
    "from sklearn.neighbors import KNeighborsRegressor",
    "from sklearn.neural_network import MLPClassifier",
    "from sklearn.neural_network import MLPRegressor",
    "from sklearn.svm import LinearSVC",
    "from sklearn.svm import LinearSVR",
    "from sklearn.svm import SVC",
    "from sklearn.svm import SVR",
    "from sklearn.utils.class_weight import compute_sample_weight",
)

_LOSSES = {
    "hist_gb": {"absolute": "absolute_error", "poisson": "poisson"},
    "lightgbm": {"absolute": "l1", "huber": "huber", "poisson": "poisson", "tweedie": "tweedie"},
}
_FEATURE_SHARES = {"sqrt": '"sqrt"', "third": "0.33", "half": "0.5", "all": "1.0"}


def is_numeric(task: TaskSpec) -> bool:
    """Whether the target is a number."""
    return task.problem in ("regression", "forecast")


def has_series(task: TaskSpec) -> bool:
    """Whether each row holds a series."""
    return task.series_prefix is not None and task.problem != "forecast"


def has_image(task: TaskSpec) -> bool:
    """Whether each row holds an image."""
    return task.image_shape is not None and task.problem != "forecast"


def has_text(spec: PipelineSpec, task: TaskSpec) -> bool:
    """Whether there are text columns."""
    return task.modality == "text" or bool(task.text_columns) or bool(spec.columns.text)


def counts_text(spec: PipelineSpec, task: TaskSpec) -> bool:
    """Whether naive Bayes works on term counts: all features are then kept non-negative."""
    return (
        spec.model.family == "bayes"
        and not is_numeric(task)
        and has_text(spec, task)
        and spec.text.vectorizer in ("tfidf", "count")
        and spec.text.svd == 0
    )


def needs_dense(spec: PipelineSpec, task: TaskSpec) -> bool:
    """Whether the model takes no sparse matrix."""
    family = spec.model.family
    if family == "bayes":
        return not counts_text(spec, task)
    return family == "hist_gb" or (family in ("forest", "extra_trees") and spec.numeric.imputation == "none")


def call(name: str, **arguments: object) -> str:
    """A call; None leaves an argument out, strings are code."""
    return f"{name}({', '.join(f'{k}={v}' for k, v in arguments.items() if v is not None)})"


def quoted(text: str) -> str:
    """A string literal with double quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def differs(value: object, default: object) -> object | None:
    """The value if it is not the library's default."""
    return None if value == default else value


def model_expression(spec: PipelineSpec, task: TaskSpec) -> str:
    """The unfitted model; `seed` and, for neighbours, `rows` are free names in it."""
    numeric = is_numeric(task)
    model = spec.model
    weight = '"balanced"' if model.class_weight == "balanced" and not numeric else None
    match model.family:
        case "linear":
            return "LinearRegression()"
        case "ridge":
            name = "Ridge" if numeric else "RidgeClassifier"
            return call(name, alpha=model.ridge.alpha, class_weight=weight, random_state="seed")
        case "lasso":
            if numeric:
                return call("Lasso", alpha=model.lasso.alpha, max_iter=5000, random_state="seed")
            return _logistic(1 / model.lasso.alpha, weight, l1_ratio=1.0)
        case "elastic":
            ratio = model.elastic.l1_ratio
            if numeric:
                return call(
                    "ElasticNet",
                    alpha=model.elastic.alpha,
                    l1_ratio=ratio,
                    max_iter=5000,
                    random_state="seed",
                )
            return _logistic(1 / model.elastic.alpha, weight, l1_ratio=ratio)
        case "logistic":
            return call(
                "LogisticRegression",
                C=model.logistic.c,
                max_iter=model.logistic.max_iter,
                class_weight=weight,
            )
        case "knn":
            name = "KNeighborsRegressor" if numeric else "KNeighborsClassifier"
            return call(
                name,
                n_neighbors=f"min({model.knn.k}, rows)",
                weights=differs(quoted(model.knn.weights), '"uniform"'),
                metric=differs(quoted(model.knn.metric), '"euclidean"'),
            )
        case "svm":
            return _svm(spec, numeric, weight)
        case "forest":
            return _forest("RandomForest", model.forest, numeric, weight)
        case "extra_trees":
            return _forest("ExtraTrees", model.extra_trees, numeric, weight)
        case "hist_gb":
            return _hist_gb(spec, numeric, weight)
        case "lightgbm":
            return _lightgbm(spec, numeric, weight)
        case "mlp":
            return call(
                "MLPRegressor" if numeric else "MLPClassifier",
                hidden_layer_sizes=_tuple(model.mlp.hidden),
                alpha=model.mlp.alpha,
                learning_rate_init=model.mlp.learning_rate,
                max_iter=model.mlp.epochs,
                early_stopping="can_split" if model.mlp.early_stopping else None,
                random_state="seed",
            )
        case "bayes":
            if numeric:
                return "BayesianRidge()"
            if counts_text(spec, task):
                return call("ComplementNB", alpha=model.bayes.smoothing)
            return call("GaussianNB", var_smoothing=model.bayes.smoothing * 1e-9)


def _tuple(values: tuple[int, ...]) -> str:
    return f"({values[0]},)" if len(values) == 1 else f"({', '.join(map(str, values))})"


def _logistic(c: float, weight: str | None, *, l1_ratio: float) -> str:
    return call(
        "LogisticRegression",
        C=round(c, 6),
        l1_ratio=l1_ratio,
        solver='"saga"',
        max_iter=300,
        class_weight=weight,
        random_state="seed",
    )


def _svm(spec: PipelineSpec, numeric: bool, weight: str | None) -> str:
    svm = spec.model.svm
    if svm.kernel == "linear":
        name = "LinearSVR" if numeric else "LinearSVC"
        return call(name, C=svm.c, max_iter=3000, class_weight=weight, random_state="seed")
    return call(
        "SVR" if numeric else "SVC",
        C=svm.c,
        gamma=svm.gamma or None,
        class_weight=weight,
        cache_size=500,
        random_state=None if numeric else "seed",
    )


def _forest(name: str, forest: Forest, numeric: bool, weight: str | None) -> str:
    return call(
        f"{name}{'Regressor' if numeric else 'Classifier'}",
        n_estimators=forest.trees,
        max_depth=forest.max_depth or None,
        min_samples_leaf=differs(forest.min_leaf, 1),
        max_features=_FEATURE_SHARES.get(forest.max_features),
        class_weight=weight,
        random_state="seed",
        n_jobs=1,
    )


def _hist_gb(spec: PipelineSpec, numeric: bool, weight: str | None) -> str:
    gb = spec.model.hist_gb
    return call(
        f"HistGradientBoosting{'Regressor' if numeric else 'Classifier'}",
        loss=quoted(_LOSSES["hist_gb"][gb.loss]) if numeric and gb.loss != "default" else None,
        learning_rate=gb.learning_rate,
        max_iter=gb.trees,
        max_leaf_nodes=gb.leaves,
        min_samples_leaf=gb.min_leaf,
        l2_regularization=differs(gb.l2, 0.0),
        early_stopping="stop_early" if gb.early_stopping else "False",
        n_iter_no_change=20 if gb.early_stopping else None,
        categorical_features="native or None" if spec.categorical.encoding == "native" else None,
        class_weight=weight,
        random_state="seed",
    )


def _lightgbm(spec: PipelineSpec, numeric: bool, weight: str | None) -> str:
    gb = spec.model.lightgbm
    bagged = gb.bagging_fraction < 1
    return call(
        "LGBMRegressor" if numeric else "LGBMClassifier",
        objective=quoted(_LOSSES["lightgbm"][gb.loss]) if numeric and gb.loss != "default" else None,
        learning_rate=gb.learning_rate,
        n_estimators=gb.trees,
        num_leaves=gb.leaves,
        max_depth=gb.max_depth or None,
        min_child_samples=gb.min_leaf,
        colsample_bytree=differs(gb.feature_fraction, 1.0),
        subsample=gb.bagging_fraction if bagged else None,
        subsample_freq=1 if bagged else None,
        reg_alpha=differs(gb.l1, 0.0),
        reg_lambda=differs(gb.l2, 0.0),
        extra_trees=True if gb.extra_trees else None,
        class_weight=weight,
        random_state="seed",
        n_jobs=1,
        deterministic="True",
        force_row_wise="True",
        verbose=-1,
    )
