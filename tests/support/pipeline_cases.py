"""Random pipelines, and small nasty tasks on disk for rendered solutions to run on."""

from __future__ import annotations

import io
import json
import random
import sys
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from unittest.mock import patch

import numpy as np
import pandas as pd

from dojo.model import Frozen
from dojo.task import Metric, TaskSpec
from gome.mle.playbook.pipeline import PipelineSpec, check

Needs = Literal["value", "label", "probability", "probabilities"]


def metric(name: str, needs: Needs = "value", direction: Literal["min", "max"] = "max") -> Metric:
    return Metric(name=name, direction=direction, needs=needs)


def random_spec(
    rng: random.Random, task: TaskSpec, share: float = 0.3, *, ensembles: bool = True
) -> PipelineSpec:
    """A random pipeline that is valid for the task; about `share` of its fields differ from the default."""
    for _ in range(2000):
        data = _random_fields(PipelineSpec, rng, share)
        if ensembles and rng.random() < 0.2:
            members = [random_spec(rng, task, share, ensembles=False) for _ in range(rng.randint(1, 2))]
            data["ensemble"] = {
                "method": rng.choice(["blend", "stack"]),
                "optimize": rng.random() < 0.5,
                "members": [member.to_json() for member in members],
            }
        for without in ((), ("post", "cv"), ("post", "cv", "target", "selection", "numeric", "categorical")):
            try:
                spec = PipelineSpec.model_validate({k: v for k, v in data.items() if k not in without})
                check(spec, task)
            except ValueError:
                continue
            return spec
    raise AssertionError(f"no valid pipeline for {task.id}")


def _random_fields(model: type[Frozen], rng: random.Random, share: float) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        default = field.default
        if name in ("columns", "ensemble"):
            continue
        if isinstance(default, Frozen):
            if part := _random_fields(type(default), rng, share):
                chosen[name] = part
        elif rng.random() < share:
            chosen[name] = _random_value(field.annotation, default, field.metadata, rng)
    return chosen


def _random_value(annotation: Any, default: Any, metadata: list[Any], rng: random.Random) -> Any:
    if get_origin(annotation) is Literal:
        return rng.choice(get_args(annotation))
    if annotation is bool:
        return not default
    if annotation is int:
        low = next((m.ge for m in metadata if hasattr(m, "ge")), 0)
        high = next((m.le for m in metadata if hasattr(m, "le")), 10**6)
        value = rng.choice([default // 2, default + 1, low, low + 1, low + 2, 7])
        return int(min(max(value, low), high))
    if annotation is float:
        return default * rng.choice([0.5, 0.9])
    if get_origin(annotation) is tuple and get_origin(get_args(annotation)[0]) is Literal:
        return rng.sample(get_args(get_args(annotation)[0]), rng.randint(1, 2))
    return [8, 4]  # hidden layers


@dataclass(frozen=True)
class Case:
    """A task with the tables of one view."""

    task: TaskSpec
    train: pd.DataFrame
    test: pd.DataFrame

    def write(self, folder: Path, kind: Literal["csv", "parquet"] = "csv") -> Path:
        """Write `train`, `test` and `task.json`."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in (("train", self.train), ("test", self.test)):
            if kind == "csv":
                frame.to_csv(folder / f"{name}.csv", index=False)
            else:
                frame.to_parquet(folder / f"{name}.parquet", index=False)
        task = self.task
        description = task.model_dump(mode="json") | {
            "metric": task.metric.name,
            "direction": task.metric.direction,
            "needs": task.metric.needs,
            "submission_columns": self.columns,
        }
        (folder / "task.json").write_text(json.dumps(description), encoding="utf-8")
        return folder

    @property
    def columns(self) -> list[str]:
        """The columns of a submission."""
        if self.task.metric.needs == "probabilities":
            return [self.task.id_column, *self.task.classes]
        return [self.task.id_column, self.task.target]


def run_here(code: str, data: Path, out: Path, *options: str) -> None:
    """Run a solution in this process: the same program, without the second that a new Python costs."""
    arguments = ["solution.py", "--data", str(data), "--out", str(out), *options]
    with warnings.catch_warnings(), patch.object(sys, "argv", arguments), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exec(compile(code, "solution.py", "exec"), {"__name__": "__main__"})


def check_outputs(case: Case, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Assert the form of `submission.csv` and `oof.csv`; returns both."""
    key, task = case.task.id_column, case.task
    submission = pd.read_csv(out / "submission.csv", dtype={key: str}, keep_default_na=False, na_values=[""])
    oof = pd.read_csv(out / "oof.csv", dtype={key: str}, keep_default_na=False, na_values=[""])
    assert list(submission.columns) == case.columns
    assert list(oof.columns) == [key, "fold", *case.columns[1:]]
    assert list(submission[key]) == [str(i) for i in case.test[key]]
    assert set(oof[key]) <= {str(i) for i in case.train[key]}
    assert oof[key].is_unique
    for frame in (submission, oof):
        predicted = frame[case.columns[1:]]
        assert predicted.notna().all(axis=None)
        if task.metric.needs == "label":
            assert set(predicted[task.target].astype(str)) <= set(task.classes)
        else:
            assert np.isfinite(predicted.to_numpy(dtype=float)).all()
        if task.metric.needs in ("probability", "probabilities"):
            assert predicted.ge(0).all(axis=None) and predicted.le(1).all(axis=None)
        if task.metric.needs == "probabilities":
            assert np.allclose(predicted.sum(axis=1), 1)
    return submission, oof


AWKWARD = 'gr"öße, {"a": [1]} <°> 日本'


def _table(rng: np.random.Generator, n: int, *, test: bool) -> pd.DataFrame:
    number = rng.normal(size=n)
    when = pd.Timestamp("2020-01-25") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    level = rng.choice(list("abc") + (["unseen"] if test else []), n)
    frame = pd.DataFrame(
        {
            "id": [f"{'te' if test else 'tr'}{i:04d}" for i in range(n)],
            "plain": np.where(rng.random(n) < 0.2, np.nan, number),
            AWKWARD: np.where(rng.random(n) < 0.05, np.inf, rng.exponential(size=n) ** 3),
            "hour": np.arange(n) % 24,
            "constant": 5,
            "all missing": np.nan,
            "mixed": [
                ("12.5", "n/a?", "$1,200")[0 if rng.random() < 0.97 else 1 + (i % 2)] for i in range(n)
            ],
            "flag": [True if x < 0.4 else None if x > 0.9 else False for x in rng.random(n)],
            "level": np.where(rng.random(n) < 0.1, None, level),
            "many": [f"L{int(x)}" for x in rng.integers(0, max(n, 2), n)],
            "iso": when.strftime("%Y-%m-%d %H:%M"),
            "european": np.where(rng.random(n) < 0.1, None, when.strftime("%d/%m/%Y")),
            "lat": rng.uniform(-80, 80, n),
            "lon": rng.uniform(-170, 170, n),
            "formula": [f"C{a}H{b}(OH){c}" for a, b, c in rng.integers(1, 30, (n, 3))],
            "group": rng.choice(list("uvwxyz"), n),
        }
    )
    frame["signal"] = frame["plain"].fillna(0) * 2 + (frame["level"] == "a") + 0.1 * rng.normal(size=n)
    return frame


def _texts(rng: np.random.Generator, mood: np.ndarray) -> list[str]:
    words = ["film", "plot", "actor", "scene", "score", "line"]
    good, bad = ["great", "LOVELY!", "fine"], ["awful", "dull...", "poor?"]
    texts = []
    for m in mood:
        chosen = [*rng.choice(words, 5), *rng.choice(good if m > 0 else bad, 2)]
        texts.append("" if rng.random() < 0.05 else " ".join(chosen))
    return texts


def regression_case(n: int = 90, n_test: int = 25, seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    train, test = _table(rng, n, test=False), _table(rng, n_test, test=True)
    train["value of it"] = np.round(np.exp(train.pop("signal") / 2), 2)
    task = TaskSpec(
        id="r", problem="regression", metric=metric("rmsle", direction="min"), target="value of it", seed=3
    )
    return Case(task, train, test.drop(columns="signal"))


def grouped_case() -> Case:
    case = regression_case(seed=4)
    spec = case.task.model_copy(update={"group": "group", "split": "group", "metric": metric("r2")})
    return Case(spec, case.train, case.test)


def timed_case() -> Case:
    case = regression_case(seed=5)
    spec = case.task.model_copy(update={"time": "iso", "split": "time"})
    return Case(spec, case.train, case.test)


def text_case(n: int = 80) -> Case:
    rng = np.random.default_rng(1)
    mood = np.where(rng.random(n + 20) < 0.5, 1, -1)
    frame = pd.DataFrame({"id": np.arange(n + 20), "review": _texts(rng, mood), "length": rng.random(n + 20)})
    frame["verdict"] = np.where(mood > 0, "NA", "no")  # a label that pandas would read as missing
    task = TaskSpec(
        id="t",
        problem="binary",
        modality="text",
        metric=metric("auc", "probability"),
        target="verdict",
        classes=("no", "NA"),
        text_columns=("review",),
    )
    return Case(task, frame[:n], frame[n:].drop(columns="verdict"))


def rare_classes_case(n: int = 90) -> Case:
    rng = np.random.default_rng(2)
    train, test = _table(rng, n, test=False), _table(rng, 20, test=True)
    cut = np.digitize(train.pop("signal"), [-1.5, 1.5])
    train["kind"] = np.array([10, 2, 3])[cut]
    train.loc[0, "kind"] = 40  # one row only
    task = TaskSpec(
        id="m",
        problem="multiclass",
        metric=metric("f1_macro", "label"),
        target="kind",
        classes=("10", "2", "3", "40"),
    )
    return Case(task, train, test.drop(columns="signal"))


def image_case(n: int = 80) -> Case:
    rng = np.random.default_rng(3)
    label = rng.integers(0, 3, n + 20)
    pixels = rng.integers(0, 40, (n + 20, 6, 8))
    for i, k in enumerate(label):
        pixels[i, 1 + k, 1:6] += 180
    frame = pd.DataFrame(pixels.reshape(n + 20, -1), columns=[f"pixel{i}" for i in range(48)])
    frame.insert(0, "image id", [f"i{i}" for i in range(n + 20)])
    frame["what"] = label
    task = TaskSpec(
        id="i",
        problem="multiclass",
        modality="image",
        metric=metric("logloss", "probabilities", "min"),
        target="what",
        id_column="image id",
        classes=("0", "1", "2"),
        image_shape=(6, 8),
    )
    return Case(task, frame[:n], frame[n:].drop(columns="what"))


def series_case(n: int = 60) -> Case:
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, n + 20)
    time = np.arange(40)
    waves = np.sin(time / np.where(label, 2.0, 3.5)[:, None] + rng.uniform(0, 6, (n + 20, 1)))
    values = waves + 0.2 * rng.normal(size=waves.shape)
    values[rng.random(values.shape) < 0.02] = np.nan
    frame = pd.DataFrame(values, columns=[f"v{i}" for i in range(40)]).round(3)
    frame["id"] = np.arange(n + 20)
    frame["shape"] = np.where(label, "fast", "slow")
    task = TaskSpec(
        id="s",
        problem="multiclass",
        modality="series",
        metric=metric("accuracy", "label"),
        target="shape",
        classes=("fast", "slow"),
        series_prefix="v",
    )
    return Case(task, frame[:n], frame[n:].drop(columns="shape"))


def monthly_case(n: int = 96) -> Case:
    rng = np.random.default_rng(5)
    month = pd.date_range("2001-01-01", periods=n + 12, freq="MS")
    t = np.arange(n + 12)
    level = 100 + 0.3 * t + 5 * np.sin(2 * np.pi * t / 12) + 0.3 * rng.normal(size=n + 12)
    frame = pd.DataFrame({"id": month.strftime("%Y-%m"), "month": month.strftime("%Y-%m-%d"), "level": level})
    task = TaskSpec(
        id="f",
        problem="forecast",
        modality="series",
        metric=metric("mae", direction="min"),
        target="level",
        time="month",
        split="time",
    )
    return Case(task, frame[:n], frame[n:].drop(columns="level"))


def shops_case(days: int = 60) -> Case:
    """Several series with a weekly season, gaps, a covariate, and one series that starts after training."""
    rng = np.random.default_rng(6)
    parts = []
    for shop, base in (("north", 10), ("south", 30), ("new", 20)):
        t = np.arange(days + 10)
        sales = base + 4 * (t % 7 >= 5) + 0.05 * t + 0.3 * rng.normal(size=len(t))
        parts.append(
            pd.DataFrame({"day": t, "shop": shop, "promo": rng.integers(0, 2, len(t)), "sales": sales})
        )
    frame = pd.concat(parts, ignore_index=True)
    frame = frame[((frame["shop"] != "new") | (frame["day"] >= days)) & (rng.random(len(frame)) > 0.05)]
    frame.insert(0, "id", np.arange(len(frame)))
    known = frame["day"] < days
    task = TaskSpec(
        id="g",
        problem="forecast",
        metric=metric("rmse", direction="min"),
        target="sales",
        time="day",
        group="shop",
        split="time",
    )
    return Case(task, frame[known], frame[~known].drop(columns="sales"))


CASES = {
    "regression": regression_case,
    "grouped": grouped_case,
    "timed": timed_case,
    "text": text_case,
    "rare_classes": rare_classes_case,
    "image": image_case,
    "series": series_case,
    "monthly": monthly_case,
    "shops": shops_case,
}
