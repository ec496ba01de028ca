"""Rendered solutions: clean code that contains what the pipeline uses, and runs on nasty data."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.task import TaskSpec
from gome.mle.playbook.baseline import drafts
from gome.mle.playbook.compose import Snippets, broken, names_in, wrap_long
from gome.mle.playbook.pipeline import PipelineSpec, apply
from gome.mle.playbook.render import render
from tests.support.pipeline_cases import (
    CASES,
    Case,
    check_outputs,
    metric,
    monthly_case,
    random_spec,
    rare_classes_case,
    regression_case,
    run_here,
    series_case,
    text_case,
)

TASKS = [case().task for case in CASES.values()]
PLAIN = PipelineSpec()
SMALL = {
    "model.lightgbm.trees": 20,
    "model.forest.trees": 10,
    "model.extra_trees.trees": 10,
    "model.mlp.epochs": 30,
}


def solution(task: TaskSpec, **changes: object) -> str:
    spec = apply(PLAIN, {k.replace("__", "."): v for k, v in changes.items()})
    return render(spec, task)["solution.py"]


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(TASKS), st.sampled_from([0.05, 0.3, 0.6]))
def test_any_pipeline_renders_to_code_that_binds_its_names(seed: int, task: TaskSpec, share: float) -> None:
    code = render(random_spec(random.Random(seed), task, share), task)["solution.py"]
    tree = ast.parse(code)
    imported = {
        a.asname or a.name
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom | ast.Import)
        for a in n.names
    }
    assert "Any" not in imported or "Any" in names_in(code)
    unused = imported - names_in(code) - {"annotations", "enable_iterative_imputer"}
    assert not unused, f"imported for nothing: {unused}"


def test_rendered_code_passes_the_formatter_and_the_linter(tmp_path: Path) -> None:
    rng = random.Random(7)
    for i, task in enumerate(TASKS * 8):
        text = render(random_spec(rng, task, rng.choice([0.05, 0.2, 0.4])), task)["solution.py"]
        (tmp_path / f"s{i}.py").write_text(text)
    base = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", "--line-length", "110"]
    formatted = subprocess.run(
        [*base, "format", "--diff", *options, str(tmp_path)], capture_output=True, text=True
    )
    assert formatted.returncode == 0, formatted.stdout[:3000]
    rules = ["--select", "E,W,F,I,B,UP,C4,SIM"]
    linted = subprocess.run([*base, "check", *options, *rules, str(tmp_path)], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout[-3000:]


def test_a_solution_holds_only_what_its_pipeline_uses() -> None:
    task = regression_case().task
    code = solution(task)
    for foreign in (
        "lightgbm",
        "TargetEncoder",
        "sphere_points",
        "cyclic",
        "Tfidf",
        "holt",
        "GroupKFold",
        "scipy",
    ):
        assert foreign not in code
    rich = solution(task, model__family="lightgbm", geo__xyz=True, categorical__encoding="target")
    for own in ("LGBMRegressor", "TargetEncoder", "sphere_points"):
        assert own in rich
    assert len(code.splitlines()) < 300


def test_column_names_of_a_pipeline_cannot_break_the_code(tmp_path: Path) -> None:
    case = regression_case()
    names = ['"""', "\\", "a'b\"c", "{x}\n# y", '"""\nimport os\n"""']
    code = solution(case.task, columns__drop=names, columns__categorical=['x"""y\n', "hour"])
    run_here(code, case.write(tmp_path / "data"), tmp_path / "out")
    check_outputs(case, tmp_path / "out")


@pytest.mark.parametrize("name", CASES)
def test_drafts_run(name: str, tmp_path: Path) -> None:
    case = CASES[name]()
    data = case.write(tmp_path / "data")
    for spec in drafts(case.task, 5):
        files = render(apply(spec, SMALL), case.task)
        run_here(files["solution.py"], data, tmp_path / spec.key())
        check_outputs(case, tmp_path / spec.key())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", CASES)
def test_random_pipelines_run(name: str, kind: str, tmp_path: Path) -> None:
    case = CASES[name]()
    data = case.write(tmp_path / "data", kind)
    rng = random.Random(f"{name} {kind}")
    for i in range(3):
        spec = apply(random_spec(rng, case.task, rng.choice([0.05, 0.2])), {**SMALL, "cv.folds": 2})
        run_here(render(spec, case.task)["solution.py"], data, tmp_path / str(i))
        check_outputs(case, tmp_path / str(i))


EVERY_CHOICE: list[tuple[str, dict[str, object]]] = [
    *[("regression", {"numeric.imputation": v}) for v in ("median", "constant", "knn", "iterative")],
    ("regression", {"numeric.imputation": "none", "model.family": "forest"}),
    ("regression", {"numeric.indicators": True, "numeric.bins": 5, "numeric.log_skewed": True}),
    *[("regression", {"numeric.outliers": v}) for v in ("clip", "winsor")],
    *[("regression", {"numeric.scaling": v}) for v in ("robust", "quantile", "power")],
    *[
        ("regression", {"categorical.encoding": v, "categorical.rare_min_count": 3})
        for v in ("ordinal", "target", "count", "frequency", "hashing", "drop")
    ],
    ("rare_classes", {"categorical.encoding": "target", "model.family": "logistic"}),
    *[
        ("rare_classes", {"categorical.encoding": "native", "model.family": v})
        for v in ("lightgbm", "hist_gb")
    ],
    ("regression", {"categorical.high_cardinality": 5, "categorical.high_encoding": "target"}),
    (
        "regression",
        {"categorical.crosses": 2, "categorical.integer_levels": 30, "dates.cyclic_integers": True},
    ),
    ("regression", {"dates.parts": ["year", "week", "hour"], "dates.cyclic": True, "dates.weekend": True}),
    ("regression", {"code.ngrams": 2, "code.tokens": True, "code.statistics": True}),
    ("regression", {"geo.xyz": True, "geo.rotations": 2}),
    ("regression", {"interactions.pairs": 4, "interactions.polynomial": 2}),
    ("regression", {"groups.statistics": ["mean", "std"], "groups.deviation": True}),
    *[("regression", {"selection.method": v}) for v in ("variance", "kbest", "importance")],
    *[("regression", {"target.transform": v}) for v in ("log1p", "sqrt", "boxcox", "rank", "standardize")],
    *[
        ("regression", {"model.family": v})
        for v in ("linear", "lasso", "elastic", "svm", "extra_trees", "hist_gb", "mlp", "bayes")
    ],
    *[
        ("rare_classes", {"model.family": v, "model.class_weight": "balanced", "post.threshold": "tune"})
        for v in ("ridge", "lasso", "elastic", "svm", "forest", "hist_gb", "lightgbm", "mlp", "bayes")
    ],
    ("rare_classes", {"post.round": "cutpoints", "model.family": "logistic"}),
    *[("regression", {"model.family": "lightgbm", "model.lightgbm.loss": v}) for v in ("poisson", "huber")],
    ("regression", {"model.family": "hist_gb", "model.hist_gb.early_stopping": True, "model.bagging": 2}),
    ("rare_classes", {"model.family": "lightgbm", "model.lightgbm.early_stopping": 5, "model.bagging": 2}),
    ("regression", {"post.clip": True, "post.round": "integer", "cv.predict": "folds"}),
    *[("image", {"post.calibration": v, "model.family": "knn"}) for v in ("sigmoid", "isotonic")],
    ("image", {"image.deskew": True, "image.gradients": True, "image.shifts": 1, "image.pca": 8}),
    ("text", {"text.analyzer": "word_char", "text.svd": 10, "text.statistics": True}),
    *[
        ("text", {"text.vectorizer": v, "model.family": "bayes"})
        for v in ("tfidf", "count", "hashing", "none")
    ],
    (
        "series",
        {"series.summary": True, "series.differences": True, "series.autocorrelation": 5, "series.fft": 8}
        | {"series.kernels": 50, "series.intervals": 5, "series.normalize": "zscore"},
    ),
    *[
        (case, {"forecast.method": v})
        for v in ("naive", "seasonal_naive", "drift", "holt_winters", "lags")
        for case in ("monthly", "shops")
    ],
    (
        "monthly",
        {"forecast.method": "holt_winters", "forecast.seasonal": "multiplicative", "forecast.damped": True},
    ),
    ("shops", {"forecast.harmonics": 2, "forecast.anchor": True, "forecast.window": 30}),
    ("monthly", {"forecast.seasonal_dummies": True, "forecast.degree": 2, "dates.parts": ["month"]}),
    ("shops", {"forecast.method": "lags", "forecast.difference": True, "model.family": "lightgbm"}),
]


@pytest.mark.parametrize(
    ("name", "changes"), EVERY_CHOICE, ids=lambda v: v if isinstance(v, str) else str(v)[:60]
)
def test_every_choice_runs(name: str, changes: dict[str, object], tmp_path: Path) -> None:
    case = CASES[name]()
    changes = dict(changes)
    if case.task.classes and "model.family" not in changes:
        changes["model.family"] = "ridge"
    if changes.get("text.vectorizer") == "none":
        changes["text.statistics"] = True
    spec = apply(PLAIN, {**SMALL, "cv.folds": 2, **changes})
    run_here(render(spec, case.task)["solution.py"], case.write(tmp_path / "data"), tmp_path / "out")
    check_outputs(case, tmp_path / "out")


@pytest.mark.parametrize("method", ["blend", "optimized", "stack"])
@pytest.mark.parametrize("name", ["regression", "rare_classes", "monthly"])
def test_ensembles_run(name: str, method: str, tmp_path: Path) -> None:
    case = CASES[name]()
    changes = {
        "ensemble.method": "stack" if method == "stack" else "blend",
        "ensemble.optimize": method == "optimized",
        "ensemble.members": [
            {"model": {"family": "knn"}},
            {"forecast": {"harmonics": 1}, "geo": {"xyz": True}},
        ],
        "model.family": "forest",
    }
    code = render(apply(PLAIN, {**SMALL, **changes}), case.task)["solution.py"]
    run_here(code, case.write(tmp_path / "data"), tmp_path / "out")
    check_outputs(case, tmp_path / "out")


@pytest.mark.parametrize("rows", [1, 2, 3, 6])
@pytest.mark.parametrize("name", CASES)
def test_tiny_data(name: str, rows: int, tmp_path: Path) -> None:
    case = CASES[name]()
    case = Case(case.task, case.train.head(rows), case.test.head(2))
    for family in ("knn", "lightgbm", "mlp"):
        changes = {
            **SMALL,
            "model.family": family,
            "model.mlp.early_stopping": True,
            "numeric.scaling": "quantile",
        }
        code = render(apply(PLAIN, changes), case.task)["solution.py"]
        run_here(code, case.write(tmp_path / "data"), tmp_path / family)
        check_outputs(case, tmp_path / family)


def test_one_class_and_constant_target(tmp_path: Path) -> None:
    case = rare_classes_case()
    one = Case(case.task, case.train.assign(kind=2), case.test)
    run_here(solution(case.task, model__family="logistic"), one.write(tmp_path / "a"), tmp_path / "out")
    assert set(check_outputs(one, tmp_path / "out")[0]["kind"].astype(str)) == {"2"}
    flat = regression_case()
    flat = Case(flat.task, flat.train.assign(**{"value of it": 3.5}), flat.test)
    run_here(solution(flat.task, target__transform="boxcox"), flat.write(tmp_path / "b"), tmp_path / "flat")
    assert np.allclose(check_outputs(flat, tmp_path / "flat")[0]["value of it"], 3.5)


def test_rows_without_label_are_left_out(tmp_path: Path) -> None:
    case = regression_case()
    train = case.train.copy()
    train.loc[[0, 5], "value of it"] = np.nan
    run_here(
        solution(case.task), Case(case.task, train, case.test).write(tmp_path / "data"), tmp_path / "out"
    )
    _, oof = check_outputs(case, tmp_path / "out")
    assert len(oof) == len(train) - 2


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("regression", {"model.family": "lightgbm", "categorical.encoding": "target"}),
        ("rare_classes", {"model.family": "mlp"}),
        ("text", {"model.family": "forest", "text.svd": 10}),
        ("series", {"model.family": "ridge", "series.kernels": 40}),
        ("monthly", {"model.family": "forest", "forecast.method": "lags"}),
    ],
)
def test_a_seed_gives_the_same_bytes_in_a_program_of_its_own(
    name: str, changes: dict[str, object], tmp_path: Path
) -> None:
    case = CASES[name]()
    data = case.write(tmp_path / "data")
    (tmp_path / "solution.py").write_text(
        render(apply(PLAIN, {**SMALL, **changes}), case.task)["solution.py"]
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "random"}
    written = []
    for run in ("a", "b"):
        command = [
            sys.executable,
            str(tmp_path / "solution.py"),
            "--data",
            str(data),
            "--out",
            str(tmp_path / run),
        ]
        done = subprocess.run([*command, "--seed", "11"], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr[-2000:]
        written.append([(tmp_path / run / f).read_bytes() for f in ("submission.csv", "oof.csv")])
    assert written[0] == written[1]


def test_debug_learns_from_few_rows(tmp_path: Path) -> None:
    case = regression_case(n=1200)
    run_here(solution(case.task), case.write(tmp_path / "data"), tmp_path / "out", "--debug")
    _, oof = check_outputs(case, tmp_path / "out")
    assert len(oof) == 300


def test_out_of_fold_predictions_do_not_see_their_own_target(tmp_path: Path) -> None:
    """With a target of pure noise and one level per row, target encoding must not find anything."""
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame({"id": np.arange(n), "level": rng.choice([f"L{i}" for i in range(150)], n)})
    frame["y"] = rng.normal(size=n)
    task = TaskSpec(id="n", problem="regression", metric=metric("r2"), target="y")
    code = solution(task, categorical__encoding="target", model__family="lightgbm")
    case = Case(task, frame[:350], frame[350:].drop(columns="y"))
    run_here(code, case.write(tmp_path / "data"), tmp_path / "out")
    _, oof = check_outputs(case, tmp_path / "out")
    found = np.corrcoef(oof["y"], frame["y"][:350])[0, 1]
    assert abs(found) < 0.2


def test_groups_stay_together_and_time_goes_forward(tmp_path: Path) -> None:
    for name in ("grouped", "timed", "monthly"):
        case = CASES[name]()
        run_here(solution(case.task), case.write(tmp_path / name), tmp_path / f"{name}-out")
        _, oof = check_outputs(case, tmp_path / f"{name}-out")
        merged = oof.merge(case.train.assign(id=case.train["id"].astype(str)), on="id")
        if name == "grouped":
            assert merged.groupby("group")["fold"].nunique().eq(1).all()
            continue
        time = pd.to_datetime(merged["iso" if name == "timed" else "month"])
        bounds = time.groupby(merged["fold"]).agg(["min", "max"])
        assert (bounds["max"].shift().dropna() <= bounds["min"].iloc[1:]).all()


def better(
    case: Case, truth: pd.Series, plain: dict[str, object], rich: dict[str, object], folder: Path
) -> bool:
    """Whether the second pipeline has the smaller mean absolute error, or more right labels."""
    losses = []
    for i, changes in enumerate((plain, rich)):
        out = folder / str(i)
        run_here(render(apply(PLAIN, changes), case.task)["solution.py"], case.write(folder / "data"), out)
        submission, _ = check_outputs(case, out)
        predicted = submission[case.task.target]
        wrong = predicted.astype(str) != truth.astype(str).to_numpy()
        losses.append(
            float(wrong.mean() if case.task.classes else (predicted - truth.to_numpy()).abs().mean())
        )
    return losses[1] < losses[0]


def test_random_convolutions_tell_waves_apart(tmp_path: Path) -> None:
    case = series_case(160)
    held = Case(case.task, case.train[:80], case.train[80:].drop(columns="shape"))
    rich = {
        "model.family": "ridge",
        "series.values": False,
        "series.kernels": 200,
        "numeric.scaling": "standard",
    }
    assert better(held, case.train["shape"][80:], {"model.family": "ridge"}, rich, tmp_path)


@pytest.mark.parametrize(
    "rich",
    [
        {"forecast.method": "holt_winters"},
        {"forecast.harmonics": 3},
        {"forecast.seasonal_dummies": True},
        {"forecast.method": "lags", "forecast.difference": True},
    ],
    ids=str,
)
def test_seasons_are_found_and_carried_on(rich: dict[str, object], tmp_path: Path) -> None:
    case = monthly_case(96)
    held = Case(case.task, case.train[:84], case.train[84:].drop(columns="level"))
    plain = {"model.family": "linear"}
    assert better(held, case.train["level"][84:], plain, {"model.family": "linear", **rich}, tmp_path)


def test_labels_that_pandas_reads_as_missing_stay_labels(tmp_path: Path) -> None:
    case = text_case()
    task = case.task.model_copy(update={"metric": metric("accuracy", "label")})
    case = Case(task, case.train, case.test)
    run_here(solution(task, model__family="logistic"), case.write(tmp_path / "data"), tmp_path / "out")
    submission = pd.read_csv(tmp_path / "out" / "submission.csv", keep_default_na=False)
    assert set(submission["verdict"]) == {"NA", "no"}


def test_wrapping_keeps_the_meaning() -> None:
    line = (
        "value = "
        + "call("
        + ", ".join(f"argument_{i}=[{i}, 'text {i}', {{'a': ({i},)}}]" for i in range(9))
        + ")"
    )
    wrapped = wrap_long(line)
    assert ast.dump(ast.parse(wrapped)) == ast.dump(ast.parse(line))
    assert max(map(len, wrapped.split("\n"))) <= 110
    short = ast.parse("f(1)", mode="eval").body
    assert broken(short, "f(1)", 0, 0) == "f(1)"


def test_snippets_are_complete() -> None:
    library = Snippets()
    known = set(library.source) | set(library.imports) | set(dir(__builtins__)) | set(__builtins__)  # type: ignore[arg-type]
    for name, source in library.source.items():
        bound = {
            n.id
            for n in ast.walk(ast.parse(source))
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        bound |= {a.arg for a in ast.walk(ast.parse(source)) if isinstance(a, ast.arg)}
        bound |= {f.name for f in ast.walk(ast.parse(source)) if isinstance(f, ast.FunctionDef)}
        assert names_in(source) <= known | bound, f"{name} uses what no solution would have"
