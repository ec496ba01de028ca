"""Where no rule has anything left to say: small moves of the hyper-parameters in use."""

from __future__ import annotations

from typing import Any

from gome.loop.strategy import StepContext
from gome.mle.playbook.diagnose import Candidate, effective
from gome.mle.playbook.rules.base import Situation

KNOBS: dict[str, tuple[tuple[str, float, float], ...]] = {
    "ridge": (("model.ridge.alpha", 1e-4, 1e5),),
    "lasso": (("model.lasso.alpha", 1e-5, 1e3),),
    "elastic": (("model.elastic.alpha", 1e-5, 1e3),),
    "logistic": (("model.logistic.c", 1e-4, 1e3),),
    "knn": (("model.knn.k", 1, 100),),
    "svm": (("model.svm.c", 0.01, 300), ("model.svm.gamma", 1e-4, 1.0)),
    "forest": (("model.forest.min_leaf", 1, 40), ("model.forest.trees", 50, 500)),
    "extra_trees": (("model.extra_trees.min_leaf", 1, 40), ("model.extra_trees.trees", 50, 500)),
    "hist_gb": (
        ("model.hist_gb.learning_rate", 0.01, 0.3),
        ("model.hist_gb.trees", 50, 1500),
        ("model.hist_gb.leaves", 4, 127),
        ("model.hist_gb.min_leaf", 3, 200),
    ),
    "lightgbm": (
        ("model.lightgbm.learning_rate", 0.01, 0.3),
        ("model.lightgbm.trees", 50, 2000),
        ("model.lightgbm.leaves", 4, 255),
        ("model.lightgbm.min_leaf", 3, 200),
        ("model.lightgbm.feature_fraction", 0.2, 1.0),
    ),
    "mlp": (("model.mlp.alpha", 1e-6, 10.0), ("model.mlp.learning_rate", 1e-4, 0.03)),
    "bayes": (("model.bayes.smoothing", 1e-3, 10.0),),
}
"""Per family: path, lowest and highest value worth trying."""
FORECAST = (("forecast.harmonics", 0, 8), ("forecast.degree", 0, 3), ("forecast.lags", 6, 60))
FACTORS = (0.5, 2.0, 0.3, 3.0, 0.7, 1.4)


def moves(ctx: StepContext, situation: Situation) -> list[Candidate]:
    """One move up and one down of each knob of the family in use; sizes are drawn from the step's numbers."""
    knobs: list[tuple[str, float, float]] = list(KNOBS.get(situation.spec.model.family, ()))
    if ctx.task.problem == "forecast":
        knobs += FORECAST
    found: list[Candidate] = []
    for path, low, high in knobs:
        for factor in FACTORS:
            jitter = 1.0 if ctx.rng.random() < 0.5 else ctx.rng.uniform(0.85, 1.2)
            value = _moved(situation.setting(path), factor * jitter, low, high)
            changes = effective(ctx.task, situation.spec, {path: value})
            if changes is None:
                continue
            name = path.rsplit(".", 1)[1].replace("_", " ")
            word = "Raise" if factor > 1 else "Lower"
            found.append(
                Candidate(
                    changes=changes,
                    component="hyper-parameters",
                    hypothesis=f"{word} {name} to {value:g}: no observation points elsewhere",
                    cause="the settings in use were never varied",
                    expected=0.008 / (1.0 + abs(factor - 1.0)),
                    confidence=0.25,
                    origin=f"tune:{path}",
                )
            )
    return found


def _moved(now: Any, factor: float, low: float, high: float) -> Any:
    if isinstance(now, int):
        step = 1 if factor > 1 else -1
        return int(min(high, max(low, round(now * factor) if abs(now * (factor - 1)) >= 1 else now + step)))
    start = float(now) if now else 0.05  # 0 stands for a library's own choice
    return float(f"{min(high, max(low, start * factor)):.3g}")
