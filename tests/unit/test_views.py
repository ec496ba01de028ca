"""Views: nothing hidden leaks, everything is reproducible, values are those of the source."""

from __future__ import annotations

import json
import pickle
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dojo.errors import TaskError
from dojo.mle.package import read_package
from dojo.mle.prepare import Prepared
from dojo.mle.views import View, make_view
from tests.support.task_tables import houses, toml, write_package

NAMES = ("search", "resplit-0", "resplit-1", "resplit-2", "final")
SPLITS = {
    "random": {},
    "stratified": {"problem": "binary", "metric": "auc", "target": "heated"},
    "group": {"group": "street"},
    "time": {"time": "sold"},
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield


def prepare(root: Path, frame: pd.DataFrame, name: str = "data.csv", **fields: object) -> Prepared:
    write_package(root, frame, toml(data={"data": name}, **fields), name)
    return read_package(root).prepare()


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def exact(path: Path, column: str) -> list[float]:
    """A column of numbers without the rounding of pandas' CSV parser."""
    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype=str)
    return [float(cell) for cell in frame[column]]


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_a_view_hides_the_target_and_keeps_the_answers_apart(split: str, name: str, tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "task", houses(), split=split, **SPLITS[split])
    spec = prepared.spec
    view = make_view(prepared, name, tmp_path / "views" / name)
    train, test, answers = read(view.train), read(view.test), read(view.answers or Path("-"))
    assert spec.target in train.columns
    assert [c for c in train.columns if c != spec.target] == test.columns.tolist()
    assert answers.columns.tolist() == ["Id", spec.target] + ["__block__"] * (split == "group")
    assert answers["Id"].tolist() == test["Id"].tolist()
    assert not set(train["Id"]) & set(test["Id"])
    assert sorted(p.name for p in view.public.iterdir()) == ["task.json", "test.csv", "train.csv"]
    assert view.public not in (view.answers or view.public).parents
    assert stat.S_IMODE((view.answers or view.public).parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("split", SPLITS)
def test_the_same_bytes_every_time(split: str, tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "task", houses(), split=split, **SPLITS[split])
    for name in NAMES:
        make_view(prepared, name, tmp_path / "a" / name)
        make_view(pickle.loads(pickle.dumps(prepared)), name, tmp_path / "b" / name)
    make_view(prepared, "search", tmp_path / "b" / "search")  # writing again replaces
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


@pytest.mark.parametrize("split", ["random", "stratified"])
def test_ids_and_order_of_plain_tables_tell_nothing(split: str, tmp_path: Path) -> None:
    frame = houses(200).sort_values("price").assign(Id=range(200), size=np.arange(200) + 0.5)
    prepared = prepare(tmp_path / "task", frame, split=split, **SPLITS[split])
    full = frame.set_index("size")
    for name in ("search", "resplit-0"):
        view = make_view(prepared, name, tmp_path / name)
        for part in (read(view.train), read(view.test)):
            own = full.loc[part["size"], "Id"].to_numpy()
            assert abs(np.corrcoef(own, part["Id"])[0, 1]) < 0.4, "ids must not follow those of the source"
            assert abs(np.corrcoef(own, np.arange(len(part)))[0, 1]) < 0.4, "nor may the order of rows"
        ids = [*read(view.train)["Id"], *read(view.test)["Id"]]
        assert sorted(ids) == list(range(len(ids)))


def test_text_ids_stay_text_and_numbers_stay_numbers(tmp_path: Path) -> None:
    frame = houses()
    words = prepare(tmp_path / "words", frame.assign(Id=[f"h{i}" for i in frame["Id"]]))
    numbers = prepare(tmp_path / "numbers", frame)
    ids = read(make_view(words, "search", tmp_path / "w").test)["Id"]
    assert ids.str.fullmatch(r"row-\d+").all()
    assert pd.api.types.is_integer_dtype(read(make_view(numbers, "search", tmp_path / "n").test)["Id"])
    assert read(make_view(words, "final", tmp_path / "f").test)["Id"].str.fullmatch(r"h\d+").all()


@pytest.mark.parametrize("split", ["time", "group"])
def test_ids_of_time_and_group_data_are_kept(split: str, tmp_path: Path) -> None:
    frame = houses()
    prepared = prepare(tmp_path / "task", frame, split=split, **SPLITS[split])
    view = make_view(prepared, "search", tmp_path / "v")
    both = pd.concat([read(view.train), read(view.test)])
    expected = frame.set_index("Id").loc[both["Id"], "size"]
    assert both["size"].tolist() == expected.tolist()


def test_time_views_are_in_order_and_the_test_is_last(tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "task", houses().sample(frac=1, random_state=1), split="time", time="sold")
    search, final = (make_view(prepared, n, tmp_path / n) for n in ("search", "final"))
    times = [read(p)["sold"] for p in (search.train, search.test, final.test)]
    assert all(t.is_monotonic_increasing for t in times)
    assert times[0].max() < times[1].min() <= times[1].max() < times[2].min()


def test_every_row_is_in_exactly_one_part(tmp_path: Path) -> None:
    frame = houses()
    prepared = prepare(tmp_path / "task", frame)
    final = make_view(prepared, "final", tmp_path / "final")
    search = make_view(prepared, "search", tmp_path / "search")
    sizes = {
        n: set(read(p)["size"])
        for n, p in {"f": final.train, "t": final.test, "s": search.train, "v": search.test}.items()
    }
    assert sizes["f"] | sizes["t"] == set(frame["size"])
    assert sizes["s"] | sizes["v"] == sizes["f"]
    assert not sizes["f"] & sizes["t"]
    assert not sizes["s"] & sizes["v"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=30, max_size=60))
@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_numbers_survive_to_the_last_bit(
    values: list[float], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("bits")
    frame = pd.DataFrame({"Id": range(len(values)), "x": values, "price": values[::-1]})
    prepared = prepare(root / "task", frame, name)
    parts = [make_view(prepared, "search", root / "search"), make_view(prepared, "final", root / "final")]
    search, final = parts
    answers = final.answers or Path("-")
    assert sorted(exact(final.train, "price") + exact(answers, "price")) == sorted(values)
    assert sorted(exact(search.train, "x") + exact(search.test, "x")) == sorted(exact(final.train, "x"))


def test_cells_of_a_csv_are_not_reinterpreted(tmp_path: Path) -> None:
    frame = houses().assign(zip="00501", flag="NA", quote='say "a,b"\nand go', void="")
    prepared = prepare(tmp_path / "task", frame)
    train = pd.read_csv(make_view(prepared, "search", tmp_path / "v").train, dtype=str, keep_default_na=False)
    assert set(train["zip"]) == {"00501"}
    assert set(train["flag"]) == {"NA"}
    assert set(train["quote"]) == {'say "a,b"\nand go'}
    assert set(train["void"]) == {""}


def test_task_json_tells_the_contract(tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "task", houses(), split="stratified", **SPLITS["stratified"])
    text = json.loads((make_view(prepared, "search", tmp_path / "v").public / "task.json").read_text())
    assert text == {
        "id": "houses",
        "problem": "binary",
        "modality": "tabular",
        "metric": "auc",
        "direction": "max",
        "needs": "probability",
        "target": "heated",
        "id_column": "Id",
        "classes": ["no", "yes"],
        "group": None,
        "time": None,
        "text_columns": [],
        "image_shape": None,
        "series_prefix": None,
        "submission_columns": ["Id", "heated"],
        "seed": 0,
    }


def test_probabilities_have_a_column_per_class(tmp_path: Path) -> None:
    frame = houses().assign(kind=["a", "b", "c"] * 40)
    prepared = prepare(
        tmp_path / "task", frame, problem="multiclass", metric="logloss", target="kind", split="stratified"
    )
    text = json.loads((make_view(prepared, "search", tmp_path / "v").public / "task.json").read_text())
    assert text["submission_columns"] == ["Id", "a", "b", "c"]


def test_columns_the_real_test_lacks_are_hidden_in_validation_too(tmp_path: Path) -> None:
    frame = houses()
    root = write_package(
        tmp_path / "task", frame.iloc[:90], toml(data={"train": "train.csv", "test": "test.csv"}), "train.csv"
    )
    frame.iloc[90:].drop(columns=["price", "heated"]).to_csv(root / "test.csv", index=False)
    prepared = read_package(root).prepare()
    assert prepared.answers is None
    search, final = (make_view(prepared, n, tmp_path / n) for n in ("search", "final"))
    assert "heated" not in read(search.test).columns
    assert final.answers is None
    assert read(final.test)["Id"].tolist() == frame["Id"].iloc[90:].tolist()


@pytest.mark.parametrize("name", ["", "test", "resplit", "resplit--1", "../final", "search/x"])
def test_unknown_views_are_refused(name: str, tmp_path: Path) -> None:
    prepared = prepare(tmp_path / "task", houses())
    with pytest.raises(TaskError, match="no view is called"):
        make_view(prepared, name, tmp_path / "v")
    assert not (tmp_path / "v").exists()


def test_views_of_typed_labels(tmp_path: Path) -> None:
    frame = houses().assign(won=[True, False] * 60)
    prepared = prepare(
        tmp_path / "task",
        frame,
        "data.parquet",
        problem="binary",
        metric="auc",
        target="won",
        split="stratified",
    )
    view: View = make_view(prepared, "search", tmp_path / "v")
    assert prepared.spec.classes == ("False", "True")
    assert read(view.train)["won"].dtype == bool
    assert set(read(view.answers or Path("-"))["won"]) == {"False", "True"}
