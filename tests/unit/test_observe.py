"""Observations: the right facts on data made for them, and no exception on any out-of-fold file."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dojo.environment import Observation
from dojo.mle.observe import LIMIT, observe, profile
from dojo.task import Metric, TaskSpec


def task(problem: str = "regression", needs: str = "value", name: str = "rmse", **more) -> TaskSpec:
    return TaskSpec(
        id="made", problem=problem, target="y", metric=Metric(name=name, direction="min", needs=needs), **more
    )


def values(found: list[Observation]) -> dict[str, float | str]:
    return {o.name: o.value for o in found}


def frame(n: int = 600, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(n),
            "a": rng.normal(size=n),
            "b": rng.normal(size=n),
            "wide": np.exp(2 * rng.normal(size=n)),
            "hour": rng.integers(0, 24, n),
            "town": rng.choice([f"t{i}" for i in range(40)], n),
            "kind": rng.choice(["x", "y", "z"], n),
        }
    )


def test_profile_names_shape_gaps_labels_and_target() -> None:
    train = frame()
    train["y"] = np.exp(train.a * 1.5)
    train.loc[train.a > 0.5, "b"] = np.nan
    train["when"] = pd.date_range("2021-01-01", periods=len(train), freq="7h").astype(str)
    train["same"] = 3.0
    seen = values(profile(task(), train))
    assert seen["rows"] == 600
    assert seen["categorical_columns"] == 2
    assert seen["date_columns"] == 1
    assert seen["cardinality_max"] == 40
    assert seen["constant_columns"] == 1
    assert seen["cyclic_columns"] == 1
    assert seen["skewed_columns"] >= 1
    assert 0.2 < seen["missing_max"] < 0.4
    assert seen["missing_informative"] > 0.3
    assert seen["target_skew"] > 2
    assert abs(seen["target_log_skew"]) < seen["target_skew"]
    assert seen["geo_pairs"] == 0


def test_profile_is_deterministic_and_bounded() -> None:
    train = frame(400)
    train["y"] = train.a
    first, second = profile(task(), train), profile(task(), train.copy())
    assert first == second
    assert len(first) <= LIMIT
    assert len({o.name for o in first}) == len(first)


def test_profile_sees_nonlinearity() -> None:
    train = frame(1500)
    train["y"] = np.abs(train.a)
    curved = values(profile(task(), train))
    train = train.assign(y=train.a)
    straight = values(profile(task(), train))
    assert curved["nonlinearity"] > 0.4
    assert straight["nonlinearity"] < 0.05


def test_profile_of_texts_codes_places() -> None:
    rng = np.random.default_rng(1)
    words = ["fine", "dull", "GREAT", "slow", "warm", "odd!"]
    train = pd.DataFrame(
        {
            "id": range(300),
            "note": [" ".join(rng.choice(words, rng.integers(4, 12))) + f" {i}" for i in range(300)],
            "molecule": [f"C{i % 17 + 1}H{i + 2}O{i % 5 + 1}" for i in range(300)],
            "latitude": rng.uniform(-80, 80, 300),
            "longitude": rng.uniform(-170, 170, 300),
            "y": rng.normal(size=300),
        }
    )
    seen = values(profile(task(modality="text", text_columns=("note",)), train))
    assert seen["text_columns"] == 1
    assert seen["code_columns"] == 1
    assert seen["code_formula"] == 1
    assert seen["geo_pairs"] == 1
    assert 4 < seen["text_words"] < 13
    assert seen["text_upper_share"] > 0.05


def test_profile_of_series_and_images() -> None:
    rng = np.random.default_rng(2)
    waves = np.sin(np.linspace(0, 20, 80)[None, :] + rng.uniform(0, 6, (120, 1))) * rng.uniform(
        1, 4, (120, 1)
    )
    train = pd.DataFrame(waves, columns=[f"v{i}" for i in range(80)]).assign(id=range(120), y=["a", "b"] * 60)
    spec = task("binary", "label", "accuracy", modality="series", series_prefix="v", classes=("a", "b"))
    seen = values(profile(spec, train))
    assert seen["series_length"] == 80
    assert seen["series_autocorrelation"] > 0.8
    assert seen["series_scale_spread"] > 0.2
    pictures = pd.DataFrame(rng.uniform(0, 255, (90, 64)), columns=[f"p{i}" for i in range(64)])
    spec = task("binary", "label", "accuracy", modality="image", image_shape=(8, 8), classes=("a", "b"))
    seen = values(profile(spec, pictures.assign(id=range(90), y=["a", "b"] * 45)))
    assert seen["image_pixels"] == 64
    assert seen["image_range"] > 200


def test_profile_of_a_seasonal_series() -> None:
    months = np.arange(240)
    level = 300 + 0.1 * months + 0.0005 * months**2
    train = pd.DataFrame(
        {
            "id": months,
            "month": pd.date_range("1980-01-01", periods=240, freq="MS").astype(str),
            "y": level + 3 * np.sin(2 * np.pi * months / 12),
        }
    )
    seen = values(profile(task("forecast", time="month"), train))
    assert seen["season_length"] == 12
    assert seen["season_strength"] > 0.9
    assert seen["trend_strength"] > 0.9
    assert seen["trend_curvature"] > 0.1
    shuffled = train.sample(frac=1.0, random_state=3)
    assert values(profile(task("forecast", time="month"), shuffled))["season_length"] == 12


def test_observe_finds_what_a_linear_model_missed() -> None:
    train = frame(1500)
    train["y"] = train.a + np.abs(train.b) * 2 + (train.kind == "x") * 1.5
    oof = pd.DataFrame({"id": train.id, "fold": train.id % 3, "y": train.a + 2.1})
    seen = values(observe(task(), train, oof))
    assert seen["oof_missing"] == 0
    assert seen["oof_folds"] == 3
    assert seen["residual_linear"] < 0.05
    assert seen["residual_additive"] > 0.3
    assert seen["residual_top_feature"] == "b"
    assert seen["residual_category"] > 0.1
    perfect = oof.assign(y=train.y + np.random.default_rng(99).normal(size=1500))
    silent = values(observe(task(), train, perfect))
    assert silent["residual_tree"] < 0.05
    assert silent["residual_category"] < 0.05


def test_observe_sees_interactions_bias_and_slope() -> None:
    train = frame(1500)
    train["y"] = 4 * train.a * train.b
    flat = values(observe(task(), train, pd.DataFrame({"id": train.id, "y": 0.0})))
    assert flat["residual_interaction"] > 0.1
    assert flat["distinct_predictions"] == 1
    timid = values(observe(task(), train, pd.DataFrame({"id": train.id, "y": train.y / 2 + 1})))
    assert timid["residual_slope"] > 0.8
    assert timid["bias"] < 0
    bold = values(observe(task(), train, pd.DataFrame({"id": train.id, "y": train.y * 3})))
    assert bold["residual_slope"] < -0.5
    assert bold["range_overflow"] > 0


def test_observe_sees_place_and_time() -> None:
    rng = np.random.default_rng(4)
    train = pd.DataFrame(
        {"id": range(800), "lat": rng.uniform(-60, 60, 800), "lon": rng.uniform(-170, 170, 800)}
    )
    train["t"] = np.arange(800)
    train["y"] = np.sin(train.lat / 15) * np.cos(train.lon / 25) + np.sin(train.t / 40)
    seen = values(observe(task(time="t"), train, pd.DataFrame({"id": train.id, "y": 0.0})))
    assert seen["residual_place"] > 0.1
    assert seen["residual_autocorrelation"] > 0.3


def test_observe_classes() -> None:
    rng = np.random.default_rng(5)
    train = frame(1200)
    train["y"] = np.where(rng.uniform(size=1200) < 0.1, "bad", "good")
    spec = task("binary", "probability", "auc", classes=("good", "bad"))
    bold = np.where(train.y == "bad", 0.9, 0.02) * np.where(rng.uniform(size=1200) < 0.3, 0.0, 1.0)
    seen = values(observe(spec, train, pd.DataFrame({"id": train.id, "fold": 0, "y": bold})))
    assert seen["auc"] > 0.7
    assert 0.5 < seen["minority_recall"] < 0.9
    assert seen["calibration_slope"] < 1
    spec = task("multiclass", "probabilities", "log_loss", classes=("x", "y", "z"))
    train = train.assign(y=train.kind)
    probabilities = pd.DataFrame({"id": train.id, "fold": 0, "x": 0.5, "y": 0.3, "z": 0.2})
    seen = values(observe(spec, train, probabilities))
    assert seen["classes_never_predicted"] == 2
    assert abs(seen["accuracy_lift"]) < 0.2
    spec = task("multiclass", "label", "accuracy", classes=("x", "y", "z"))
    seen = values(observe(spec, train, pd.DataFrame({"id": train.id, "y": "x"})))
    assert seen["confusion_top"] > 0.4


@pytest.mark.parametrize(
    ("classes", "column"),
    [(("0", "1"), [0, 1]), (("0", "1"), [0.0, 1.0]), (("False", "True"), [False, True])],
)
def test_labels_match_whatever_their_type(classes: tuple[str, str], column: list) -> None:
    train = pd.DataFrame({"id": range(100), "a": range(100), "y": column * 50})
    oof = pd.DataFrame({"id": [str(i) for i in range(100)], "y": column * 50})
    seen = values(observe(task("binary", "label", "f1", classes=classes), train, oof))
    assert seen["accuracy"] == 1


def test_oof_trouble_is_an_observation() -> None:
    train = frame(50).assign(y=1.0)
    assert values(observe(task(), train, None)) == {"oof_missing": 1.0}
    for broken in (
        pd.DataFrame(),
        pd.DataFrame({"id": [1, 2]}),
        pd.DataFrame({"id": train.id, "y": np.nan}),
        pd.DataFrame({"id": [-1] * 50, "y": 1.0}),
    ):
        (only,) = observe(task(), train, broken)
        assert (only.name, only.value) == ("oof_missing", 1.0)
        assert "cannot be used" in only.text
    twice = pd.concat([pd.DataFrame({"id": train.id, "y": 1.0})] * 3)
    assert values(observe(task(), train, twice))["oof_share"] == 1.0


cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=6),
    st.sampled_from(["x", "y", "z", "0.5", "1e400", "nan", 3, 0.25, 10**400]),
)


@st.composite
def hostile(draw) -> pd.DataFrame:
    names = draw(
        st.lists(st.sampled_from(["id", "fold", "y", "x", "z", "extra", ""]), min_size=0, max_size=7)
    )
    length = draw(st.integers(0, 60))
    data = {}
    for i, name in enumerate(names):
        if name == "id" and draw(st.booleans()):
            data[i] = list(range(length))
        else:
            pool = draw(st.lists(cells, min_size=1, max_size=5))
            data[i] = [pool[j % len(pool)] for j in range(length)]
    out = pd.DataFrame(data, index=range(length), dtype=object)
    out.columns = names
    return out


SPECS = [
    task(),
    task(name="rmsle"),
    task("binary", "probability", "auc", classes=("x", "y")),
    task("binary", "label", "f1", classes=("x", "y")),
    task("multiclass", "probabilities", "log_loss", classes=("x", "y", "z")),
    task("multiclass", "label", "accuracy", classes=("x", "y", "z")),
    task("forecast", time="hour"),
]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(oof=hostile(), which=st.integers(0, len(SPECS) - 1))
def test_observe_never_raises(oof: pd.DataFrame, which: int) -> None:
    spec = SPECS[which]
    train = frame(50)
    train["y"] = train.kind if spec.classes else train.a * 1e3
    found = observe(spec, train, oof)
    assert 1 <= len(found) <= LIMIT
    assert found[0].name == "oof_missing"
    assert all(isinstance(o.value, str) or math.isfinite(o.value) for o in found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(oof=hostile(), which=st.integers(0, len(SPECS) - 1))
def test_profile_never_raises(oof: pd.DataFrame, which: int) -> None:
    found = profile(SPECS[which], oof.loc[:, ~oof.columns.duplicated()])
    assert all(isinstance(o.value, str) or math.isfinite(o.value) for o in found)
