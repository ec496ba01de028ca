"""Own data in one line: what is inferred from odd tables, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dojo.errors import TaskError
from dojo.mle.columns import column_kind
from dojo.mle.new import NewTask, new_task
from dojo.mle.source import read_source
from tests.support.task_tables import houses

N = 60


def csv_of(**columns: object) -> str:
    return pd.DataFrame(columns).to_csv(index=False)


def plain(rows: int = N) -> dict[str, object]:
    return {"a": np.arange(rows) * 0.5, "b": ["x", "y", "z"] * (rows // 3)}


def make(tmp_path: Path, content: str | bytes, name: str = "table.csv", **wishes: object) -> NewTask:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    wishes.setdefault("target", "y")
    return new_task(tmp_path / "made", path, **wishes)  # type: ignore[arg-type]


FLOATS = np.linspace(1, 9, N).round(3)
CLASSES = ["no", "yes"] * (N // 2)

AMOUNTS = csv_of(**plain(), y=FLOATS)
BINARY = csv_of(**plain(), y=CLASSES)

REFUSED: dict[str, tuple[str | bytes, dict[str, object], str]] = {
    "missing target": (csv_of(**plain(), price=FLOATS), {"target": "prise"}, "no column 'prise'; did you mean 'price'"),
    "target of another case": (csv_of(**plain(), Price=FLOATS), {"target": "price"}, "did you mean 'Price'"),
    "empty file": ("", {}, "is empty"),
    "blank file": ("\n \n\n", {}, "is empty"),
    "header only": ("a,y\n", {}, "header but no rows"),
    "one column": ("y\n1\n2\n", {}, "one column only"),
    "one row": ("a,y\n1,2\n", {}, "1 labelled rows are too few"),
    "all-missing target": (csv_of(**plain(), y=[""] * N), {}, "all 60 cells are empty"),
    "constant target": (csv_of(**plain(), y=[3] * N), {}, "one value only"),
    "one class": (csv_of(**plain(), y=["spam"] * N), {}, "one value only ('spam')"),
    "rare class": (csv_of(**plain(), y=["no"] * (N - 2) + ["yes"] * 2), {}, "class 'yes' has 2 rows; at least 8"),
    "mixed types": (
        csv_of(**plain(), y=["abc", *FLOATS[1:]]),
        {}, "1 of 60 cells are no number (first: 'abc' in data row 1)",
    ),
    "infinite": (csv_of(**plain(), y=[*FLOATS[1:], "inf"]), {}, "1 cells are infinite"),
    "a class a row": (csv_of(**plain(), y=[f"name {i}" for i in range(N)]), {}, "60 distinct values in 60 rows"),
    "text as numbers": (BINARY, {"kind": "regression"}, "60 of 60 cells are no number"),
    "binary of three": (csv_of(**plain(), y=["a", "b", "c"] * 20), {"kind": "binary"}, "3 values, not two"),
    "unknown metric": (AMOUNTS, {"metric": "rsme"}, "did you mean rmse"),
    "metric of another problem": (BINARY, {"metric": "rmse"}, "60 of 60 cells are no number"),
    "class metric on amounts": (
        AMOUNTS,
        {"metric": "auc"}, "auc is for binary targets and this one is regression; choose one of: rmse",
    ),
    "rmsle below zero": (csv_of(**plain(), y=FLOATS - 5), {"metric": "rmsle"}, "without negative values"),
    "not utf-8": (
        "a,y\n1,caf\xe9\n".encode("latin-1") * 9,
        {}, "byte 0xe9 in line 2); save it as UTF-8, or say --encoding cp1252",
    ),
    "utf-16": (AMOUNTS.encode("utf-16"), {}, "UTF-16"),
    "unknown encoding": (AMOUNTS, {"encoding": "klingon"}, "unknown encoding 'klingon'"),
    "nul bytes": (b"a,y\n1,\x002\n", {}, "NUL bytes"),
    "parquet called csv": (b"PAR1xxxx", {}, "rename it to .parquet"),
    "spreadsheet called csv": (b"PK\x03\x04xxxx", {}, "save it as CSV"),
    "ragged row": ("a,b,y\n1,2,3\n1,2\n", {}, "line 3 has 2 fields, the header has 3"),
    "open quote": ('a,y\n1,"2\n3,4\n', {}, "line 3: unexpected end of data; check the quotes"),
    "double column": ("a,a,y\n1,2,3\n", {}, "column 'a' is there twice"),
    "no header": ("1,2,3\n4,5,6\n", {}, "first line holds numbers only"),
    "nameless column": ("a,,y\n1,2,3\n", {}, "column 2 has no name"),
    "reserved target": (csv_of(**plain(), __block__=FLOATS), {"target": "__block__"}, "reserved name"),
    "id not unique": (
        csv_of(**plain(), k=[1] * N, y=FLOATS),
        {"id_column": "k"}, "not unique ('1' is there twice, 59 duplicates)",
    ),
    "id with gaps": (csv_of(**plain(), k=["", *range(N - 1)], y=FLOATS), {"id_column": "k"}, "has empty cells"),
    "id is target": (AMOUNTS, {"id_column": "y"}, "is the target"),
    "group is target": (AMOUNTS, {"group": "y"}, "is the target"),
    "group is id": (AMOUNTS, {"group": "a", "id_column": "a"}, "is the id too"),
    "no such group": (AMOUNTS, {"group": "bb"}, "no column 'bb'; did you mean 'b'"),
    "few groups": (AMOUNTS, {"group": "b"}, "has 3 groups; at least 5"),
    "group with gaps": (csv_of(g=["", *range(N - 1)], a=FLOATS, y=FLOATS), {"group": "g"}, "1 rows have no group"),
    "time no date": (AMOUNTS, {"time": "b"}, "60 cells are neither a number nor a date (first: 'x'"),
    "time with gaps": (
        csv_of(t=["", *range(N - 1)], a=FLOATS, y=FLOATS),
        {"time": "t"}, "1 rows have no time (first: data row 1)",
    ),
    "time ambiguous": (
        csv_of(t=[f"{1 + i % 9}/{1 + i % 7}/2024" for i in range(N)], y=FLOATS),
        {"time": "t"}, "which number is the day?",
    ),
    "time in two forms": (
        csv_of(t=["2024-01-05", *["13/01/2024"] * (N - 1)], y=FLOATS),
        {"time": "t"}, "is written unlike",
    ),
    "time stands still": (csv_of(t=[2024] * N, a=FLOATS, y=FLOATS), {"time": "t"}, "1 distinct times"),
    "empty time": (csv_of(t=[""] * N, a=FLOATS, y=FLOATS), {"time": "t"}, "all cells of 't' are empty"),
    "forecast without time": (AMOUNTS, {"kind": "forecast"}, "--time COLUMN"),
    "nothing to learn from": (csv_of(a=[""] * N, y=FLOATS), {}, "no column is left"),
    "huge class count": (csv_of(a=range(900), y=[f"c{i // 3}" for i in range(900)]), {}, "300 distinct values"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line_and_nothing_written(name: str, tmp_path: Path) -> None:
    content, wishes, words = REFUSED[name]
    with pytest.raises(TaskError) as caught:
        make(tmp_path, content, **wishes)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "table.csv").write_text(AMOUNTS)
    with pytest.raises(TaskError, match="cannot be made"):
        new_task(tmp_path / "file" / "made", tmp_path / "table.csv", target="y")


def test_blanks_in_names_and_hollow_columns(tmp_path: Path) -> None:
    rows = [f"{i},{i * 0.5},,\n" for i in range(N)]
    made = make(tmp_path, "a, the  y ,,\n" + "".join(rows), target=" the y")
    assert pd.read_csv(made.task.root / "data.csv").columns.tolist() == ["a", "the y"]
    assert any("2 columns without name and content" in s for s in made.said)


@pytest.mark.parametrize("suffix", ["folder", "table.xlsx", "missing.csv"])
def test_unreadable_sources(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / suffix
    if suffix == "folder":
        path.mkdir()
    elif suffix == "table.xlsx":
        path.write_text("a,y\n")
    with pytest.raises(TaskError, match=r"is a folder|cannot read \.xlsx|no such file"):
        new_task(tmp_path / "made", path, target="y")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "thesis.txt").write_text("dear")
    with pytest.raises(TaskError, match="not empty"):
        make(tmp_path, csv_of(**plain(), y=FLOATS))
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["thesis.txt"]


def test_plain_regression(tmp_path: Path) -> None:
    made = make(tmp_path, houses().to_csv(index=False), target="price")
    spec = made.task.spec
    assert (spec.problem, spec.metric.name, spec.split, spec.id_column) == (
        "regression",
        "rmse",
        "random",
        "Id",
    )
    assert any("'sold' holds dates" in s for s in made.said)
    assert any("Id" in s and "taken as the id" in s for s in made.said)
    text = (tmp_path / "made" / "task.toml").read_text()
    assert all(sentence in text for sentence in made.said)


@pytest.mark.parametrize(
    ("values", "wishes", "problem", "classes"),
    [
        (["no", "yes"] * 30, {}, "binary", ("no", "yes")),
        (["yes", "zero"] * 30, {}, "binary", ("zero", "yes")),
        ([True, False] * 30, {}, "binary", ("False", "True")),
        ([0.0, 1.0] * 30, {}, "binary", ("0", "1")),
        ([1, 2, 3] * 20, {}, "multiclass", ("1", "2", "3")),
        ([1, 2, 3] * 20, {"kind": "regression"}, "regression", ()),
        ([1, 2, 3] * 20, {"metric": "rmse"}, "regression", ()),
        ([1, 2] * 30, {"metric": "mae"}, "regression", ()),
        (list(range(20)) * 3, {}, "regression", ()),
        (list(range(20)) * 3, {"kind": "multiclass"}, "multiclass", tuple(map(str, range(20)))),
        (list(range(20)) * 3, {"metric": "accuracy"}, "multiclass", tuple(map(str, range(20)))),
        ([1.5, 2.5, 3.5] * 20, {}, "regression", ()),
        (["01", "02", "10"] * 20, {}, "multiclass", ("1", "2", "10")),
        ([" low", "high ", "low"] * 20, {}, "binary", ("high", "low")),
        (["TRUE", "FALSE"] * 30, {}, "binary", ("False", "True")),
        (["$1,200.50", "$300", "€ 40", "7%"] * 15, {"kind": "regression"}, "regression", ()),
        ([f"${i},{i}" for i in range(100, 160)], {}, "regression", ()),
    ],
)
def test_problem(
    values: list[object], wishes: dict[str, object], problem: str, classes: tuple[str, ...], tmp_path: Path
) -> None:
    made = make(tmp_path, csv_of(**plain(), y=values), **wishes)
    assert made.task.spec.problem == problem
    assert made.task.spec.classes == classes


def test_amounts_become_numbers(tmp_path: Path) -> None:
    made = make(tmp_path, csv_of(**plain(), y=[f"$ {i},5{i:02}.25" for i in range(10, 70)]))
    data = pd.read_csv(made.task.root / "data.csv")
    assert data["y"].tolist() == [i * 1000 + 500 + i + 0.25 for i in range(10, 70)]


def test_rows_without_target_and_empty_columns_go_and_are_counted(tmp_path: Path) -> None:
    y = [*FLOATS[:-3], "", "NA", "null"]
    made = make(tmp_path, csv_of(**plain(), void=[""] * N, y=y))
    assert any("3 of 60 rows have no target" in s and "'NA', 'null'" in s for s in made.said)
    assert any("without any value were left out: 'void'" in s for s in made.said)
    data = pd.read_csv(made.task.root / "data.csv")
    assert len(data) == N - 3
    assert "void" not in data.columns


@pytest.mark.parametrize("column", ["id", "ID", "row_id"])
def test_an_id_that_is_not_unique_stays_a_feature(column: str, tmp_path: Path) -> None:
    made = make(tmp_path, csv_of(**{column: [7] * N}, **plain(), y=FLOATS))
    spec = made.task.spec
    assert spec.id_column != column
    assert spec.id_column not in pd.read_csv(made.task.root / "data.csv").columns
    assert any("kept as a feature" in s for s in made.said)


def test_ids_that_only_differ_in_spelling_are_not_unique(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="not unique"):
        make(tmp_path, csv_of(k=["1", "1.0", *range(2, N)], a=FLOATS, y=FLOATS), id_column="k")


@pytest.mark.parametrize(
    "name", ["prix de vente", "größe", 'the "y"', "价格", "y'", "__block__x", "a|b", "id"]
)
def test_odd_target_names(name: str, tmp_path: Path) -> None:
    made = make(tmp_path, csv_of(**plain(), **{name: FLOATS}), target=name)
    assert made.task.spec.target == name
    prepared_columns = pd.read_csv(made.task.root / "data.csv").columns
    assert name in prepared_columns
    assert made.task.spec.id_column != name


def test_a_feature_called_like_the_graders_column_is_fine(tmp_path: Path) -> None:
    made = make(tmp_path, csv_of(__block__=range(N), a=FLOATS, y=FLOATS))
    assert made.task.spec.target == "y"


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_separators(separator: str, tmp_path: Path) -> None:
    text = pd.DataFrame({**plain(), "y": FLOATS}).to_csv(index=False, sep=separator)
    made = make(tmp_path, text)
    data = pd.read_csv(made.task.root / "data.csv")
    assert data["y"].tolist() == FLOATS.tolist()


def test_tsv_with_commas_in_cells(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["1,2,3"] * N, "y": FLOATS})
    made = make(tmp_path, frame.to_csv(index=False, sep="\t"), name="table.tsv")
    assert pd.read_csv(made.task.root / "data.csv")["a"].unique().tolist() == ["1,2,3"]


def test_decimal_commas(tmp_path: Path) -> None:
    rows = [f"{i},5;1.{i:03},25;x" for i in range(N)]
    made = make(tmp_path, "a;y;b\n" + "\n".join(rows))
    data = pd.read_csv(made.task.root / "data.csv")
    assert data["a"].tolist() == [i + 0.5 for i in range(N)]
    assert data["y"].tolist() == [1000 + i + 0.25 for i in range(N)]
    assert any("Decimal commas" in s for s in made.said)


def test_byte_order_mark_quoted_newlines_and_crlf(tmp_path: Path) -> None:
    rows = [f'"line one\r\nline two, ""quoted""",{i}.5\r\n' for i in range(N)]
    made = make(tmp_path, b"\xef\xbb\xbf" + ("note,y\r\n" + "".join(rows)).encode())
    data = pd.read_csv(made.task.root / "data.csv")
    assert data.columns.tolist() == ["note", "y"]
    assert len(data) == N
    assert data["note"][0].split() == ["line", "one", "line", "two,", '"quoted"']


def test_encoding_can_be_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": ["café"] * N, "y": FLOATS})
    made = make(tmp_path, frame.to_csv(index=False).encode("cp1252"), encoding="cp1252")
    assert pd.read_csv(made.task.root / "data.csv")["a"].unique().tolist() == ["café"]


def test_a_saved_index_is_left_out(tmp_path: Path) -> None:
    made = make(tmp_path, pd.DataFrame({**plain(), "y": FLOATS}).to_csv())
    assert pd.read_csv(made.task.root / "data.csv").columns.tolist() == ["a", "b", "y"]
    assert any("numbers the rows" in s for s in made.said)


def test_text_is_seen_and_cells_stay_as_they_were(tmp_path: Path) -> None:
    texts = [f"this is sentence number {i}, written by hand" for i in range(N)]
    made = make(tmp_path, csv_of(zip=["00501"] * N, text=texts, y=FLOATS))
    assert made.task.spec.text_columns == ("text",)
    assert made.task.spec.modality == "text"
    assert "00501" in (made.task.root / "data.csv").read_text()


def test_dates_with_the_day_first_are_rewritten(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=N)
    made = make(tmp_path, csv_of(t=days.strftime("%d/%m/%Y"), a=FLOATS, y=FLOATS), time="t")
    assert pd.read_csv(made.task.root / "data.csv")["t"].tolist() == days.strftime("%Y-%m-%d").tolist()
    assert made.task.spec.split == "time"


def test_only_time_makes_a_forecast(tmp_path: Path) -> None:
    made = make(
        tmp_path, csv_of(month=pd.date_range("2000-01-01", periods=N, freq="MS"), y=FLOATS), time="month"
    )
    spec = made.task.spec
    assert (spec.problem, spec.metric.name, made.task.file.data.horizon) == ("forecast", "mae", 7)


@pytest.mark.parametrize(
    ("prefix", "count", "modality", "shape"),
    [
        ("t", 30, "series", None),
        ("pixel", 36, "image", (6, 6)),
        ("v", 30, "tabular", None),
        ("p", 30, "tabular", None),
    ],
)
def test_blocks_of_numbered_columns(
    prefix: str, count: int, modality: str, shape: tuple[int, int] | None, tmp_path: Path
) -> None:
    frame = pd.DataFrame({f"{prefix}{i}": np.arange(N) % 7 + i for i in range(count)}).assign(y=CLASSES)
    spec = make(tmp_path, frame.to_csv(index=False)).task.spec
    assert (spec.modality, spec.image_shape) == (modality, shape)


def test_a_copy_of_the_target_is_warned_of(tmp_path: Path) -> None:
    made = make(tmp_path, csv_of(**plain(), y=FLOATS, y_again=FLOATS))
    assert any("'y_again' equals the target" in s for s in made.said)


@pytest.mark.parametrize("dtype", ["float64", "int8", "category", "datetime", "nullable", "bool"])
def test_parquet_types(dtype: str, tmp_path: Path) -> None:
    columns: dict[str, object] = {
        "float64": FLOATS,
        "int8": np.arange(N, dtype="int8"),
        "category": pd.Categorical(["x", "y", "z"] * 20),
        "datetime": pd.date_range("2024-01-01", periods=N),
        "nullable": pd.array([1, None, 3] * 20, dtype="Int64"),
        "bool": [True, False] * 30,
    }
    path = tmp_path / "table.parquet"
    pd.DataFrame({"f": columns[dtype], "y": FLOATS, "nested": [[1, 2]] * N}).to_parquet(path)
    made = new_task(tmp_path / "made", path, target="y")
    data = pd.read_parquet(made.task.root / "data.parquet")
    assert data.columns.tolist() == ["f", "y"]
    assert any("nested values" in s for s in made.said)
    assert made.task.prepare is not None


def test_parquet_target_with_gaps_becomes_classes(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    y = pd.Series([0.0, 1.0] * 30).where(np.arange(N) > 3)
    pd.DataFrame({"f": FLOATS, "y": y}).to_parquet(path)
    made = new_task(tmp_path / "made", path, target="y")
    assert made.task.spec.classes == ("0", "1")
    assert any("4 of 60 rows" in s for s in made.said)


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(TaskError, match="no readable parquet file"):
        read_source(path)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", ""], "number"),
        (["2024-01-05", "2024-02-06"], "date"),
        (["01/02/2024"], "date"),
        (["$1,200", "$5"], "amount"),
        (["true", "False"], "boolean"),
        (["red", "blue", "red"], "category"),
        ([f"word {i} and some more" for i in range(9)], "text"),
    ],
)
def test_column_kinds(cells: list[str], kind: str) -> None:
    assert column_kind(pd.Series(cells)) == kind


def test_own_test_rows(tmp_path: Path) -> None:
    frame = houses()
    path, test = tmp_path / "train.csv", tmp_path / "test.csv"
    frame.iloc[:90].to_csv(path, index=False)
    frame.iloc[90:].drop(columns="price").assign(extra=1).to_csv(test, index=False)
    made = new_task(tmp_path / "made", path, target="price", test=test)
    assert any("no test score" in s for s in made.said)
    assert any("left out: extra" in s for s in made.said)
    assert "price" not in pd.read_csv(made.task.root / "test.csv").columns


def test_own_test_rows_lacking_a_column_are_refused(tmp_path: Path) -> None:
    frame = houses()
    path, test = tmp_path / "train.csv", tmp_path / "test.csv"
    frame.to_csv(path, index=False)
    frame.drop(columns="size").to_csv(test, index=False)
    with pytest.raises(TaskError, match="lacks columns that the training rows have: size"):
        new_task(tmp_path / "made", path, target="price", test=test)
    assert not (tmp_path / "made").exists()
