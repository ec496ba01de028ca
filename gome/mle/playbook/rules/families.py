"""Rules on the choice of the model family."""

from __future__ import annotations

from typing import Any

from gome.mle.playbook.rules.base import (
    LINEAR,
    TREES,
    Rule,
    Situation,
    above,
    below,
    either,
    family,
    few_classes,
    many_classes,
    not_set,
    rows,
)

PLAIN = ("regression", "binary", "multiclass")
CLASSES = ("binary", "multiclass")
TABLES = ("tabular",)


def linear_family(situation: Situation) -> Any:
    """The plain linear family of the problem."""
    return "ridge" if situation.task.problem in ("regression", "forecast") else "logistic"


RULES: tuple[Rule, ...] = (
    Rule(
        id="boosting-for-curves",
        component="model",
        cause="the model is linear while the relation bends and interacts",
        hypothesis="Use gradient-boosted trees: a shallow tree still explains {residual_tree:.0%} of the residuals",
        edit={"model.family": "lightgbm"},
        when=(above("residual_tree", 0.01, 0.2),),
        where=(family(*LINEAR, "knn", "bayes"), rows(200), few_classes(20)),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.4,
        step="rewrite",
        cost=2.0,
    ),
    Rule(
        id="boosting-by-probe",
        component="model",
        cause="a small tree follows the target better than a linear model does",
        hypothesis="Use gradient-boosted trees: a small tree explains {nonlinearity:.1%} more of the target than a "
        "linear model",
        edit={"model.family": "lightgbm"},
        when=(above("nonlinearity", 0.02, 0.2),),
        where=(family(*LINEAR, "knn", "bayes", "svm", "mlp"), rows(300), few_classes(20)),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.35,
        step="rewrite",
        cost=2.0,
    ),
    Rule(
        id="boosting-after-bagging",
        component="model",
        cause="a forest averages deep trees and cannot correct its own bias",
        hypothesis="Boost instead of bagging: {rows:.0f} rows are enough to correct errors step by step",
        edit={"model.family": "lightgbm", "model.lightgbm.trees": 300, "model.lightgbm.learning_rate": 0.06},
        when=(above("rows", 800, 6000),),
        where=(family("forest", "extra_trees"), few_classes(20)),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.12,
        step="rewrite",
        cost=1.5,
    ),
    Rule(
        id="histogram-to-lightgbm",
        component="model",
        cause="plain boosting lacks row and column sampling",
        hypothesis="Change to LightGBM with row and column sampling and smaller steps",
        edit={
            "model.family": "lightgbm",
            "model.lightgbm.trees": 400,
            "model.lightgbm.learning_rate": 0.05,
            "model.lightgbm.feature_fraction": 0.8,
            "model.lightgbm.bagging_fraction": 0.8,
        },
        when=(above("rows", 800, 6000),),
        where=(family("hist_gb"), few_classes(20)),
        problems=PLAIN,
        gain=0.05,
        step="rewrite",
        cost=2.0,
    ),
    Rule(
        id="extra-trees-many-classes",
        component="model",
        cause="many classes need many boundaries, which a linear model shares out poorly",
        hypothesis="Use extremely randomised trees: the nearest rows explain {probe_neighbours:.0%} of the target",
        edit={"model.family": "extra_trees", "model.extra_trees.trees": 200},
        when=(above("probe_neighbours", 0.05, 0.4),),
        where=(not_set("model.family", "extra_trees", "forest"), either(many_classes(8), rows(0, 3000))),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.3,
        step="rewrite",
        cost=1.5,
    ),
    Rule(
        id="forest-to-extra-trees",
        component="model",
        cause="best-split trees resemble each other, so averaging them gains little",
        hypothesis="Randomise the split points too: {probe_neighbours:.0%} of the target shows in the nearest rows",
        edit={"model.family": "extra_trees", "model.extra_trees.trees": 300},
        when=(above("probe_neighbours", 0.1, 0.6),),
        where=(family("forest"),),
        gain=0.08,
        step="rewrite",
    ),
    Rule(
        id="forest-on-small-tables",
        component="model",
        cause="few rows let boosting memorise, and a linear model misses the interactions",
        hypothesis="Use a forest with leaves of 3 rows on the {rows:.0f} rows",
        edit={"model.family": "forest", "model.forest.trees": 300, "model.forest.min_leaf": 3},
        when=(below("rows", 2500, 300), above("nonlinearity", 0.0, 0.1)),
        where=(not_set("model.family", "forest", "extra_trees"),),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.08,
        step="rewrite",
    ),
    Rule(
        id="linear-again",
        component="model",
        cause="the relation is close to linear, and trees approximate a slope by steps",
        hypothesis="Go back to a linear model with scaled features: a small tree explains {nonlinearity:+.1%} of "
        "the target beyond it",
        edit={
            "model.family": linear_family,
            "numeric.scaling": "standard",
            "numeric.imputation": "median",
            "categorical.encoding": "onehot",
        },
        when=(below("nonlinearity", -0.01, -0.15),),
        where=(family(*TREES, "knn"),),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.15,
        step="rewrite",
    ),
    Rule(
        id="kernel-machine",
        component="model",
        cause="the relation is smooth but not linear, and there are few rows",
        hypothesis="Use a kernel machine on scaled features: the nearest rows explain {probe_neighbours:.0%} of the "
        "target, {rows:.0f} rows",
        edit={
            "model.family": "svm",
            "model.svm.c": 3.0,
            "numeric.scaling": "standard",
            "numeric.imputation": "median",
            "categorical.encoding": "onehot",
        },
        when=(above("probe_neighbours", 0.15, 0.6), below("rows", 6000, 1000)),
        where=(not_set("model.family", "svm"),),
        modalities=("tabular", "series"),
        problems=PLAIN,
        gain=0.12,
        step="rewrite",
        cost=2.0,
    ),
    Rule(
        id="neighbours-left",
        component="model",
        cause="rows that lie close together share their errors",
        hypothesis="Use distance-weighted nearest neighbours: they explain {residual_neighbours:.1%} of the residuals",
        edit={
            "model.family": "knn",
            "model.knn.k": 9,
            "model.knn.weights": "distance",
            "numeric.scaling": "standard",
            "numeric.imputation": "median",
            "categorical.encoding": "onehot",
        },
        when=(above("residual_neighbours", 0.08, 0.4),),
        where=(family(*LINEAR, "bayes"),),
        modalities=TABLES,
        problems=PLAIN,
        gain=0.1,
        step="rewrite",
    ),
)
