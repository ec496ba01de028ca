"""The submission parser: what is accepted, what is refused and how, and that no content makes it raise."""

import csv
import dataclasses
import gzip
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dojo.errors import Failure, GradingError
from dojo.mle.answers import canonical, label_resolver, load_answers
from dojo.mle.metrics import get_metric
from dojo.mle.refusal import MESSAGE_CHARS
from dojo.mle.submission import parse_submission
from dojo.task import Metric, TaskSpec

IDS = ["10", "11", "12"]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("answers")


def task(metric, problem, classes=(), target="y"):
    return TaskSpec(
        id="t", problem=problem, metric=get_metric(metric, problem).metric, target=target, classes=classes
    )


def loaded(folder, spec, targets, ids=IDS):
    path = folder / "answers.csv"
    pd.DataFrame({spec.id_column: ids, spec.target: targets}).to_csv(path, index=False)
    return load_answers(spec, path, view="search")


@pytest.fixture(scope="session")
def regression(folder):
    spec = task("rmse", "regression")
    return spec, loaded(folder, spec, [1.5, 2.5, 3.5])


@pytest.fixture(scope="session")
def binary(folder):
    spec = task("logloss", "binary", ("no", "yes"))
    return spec, loaded(folder, spec, ["no", "yes", "no"])


@pytest.fixture(scope="session")
def multi(folder):
    spec = task("logloss", "multiclass", ("a", "b", "c"))
    return spec, loaded(folder, spec, ["a", "b", "c"])


@pytest.fixture(scope="session")
def label(folder):
    spec = task("accuracy", "multiclass", ("1", "2", "3"))
    return spec, loaded(folder, spec, [1, 2, 3])


def parse(given_task, text):
    data = text if isinstance(text, bytes) else text.encode()
    return parse_submission(data, given_task[0], given_task[1])


# --- accepted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "id,y\n10,1\n11,2\n12,3\n",
        "id,y\n12,3\n10,1\n11,2\n",
        "y,id\n1,10\n2,11\n3,12\n",
        "id,y\r\n10,1\r\n11,2\r\n12,3\r\n",
        "\ufeffid,y\n10,1\n11,2\n12,3",
        '"id","y"\n"10","1"\n"11","2"\n"12","3"\n',
        "id,y\n10.0,1\n11.0,2\n12.0,3\n",
        " id , y \n 10 , 1 \n 11 , 2 \n 12 , 3 \n",
        "id,y\n+10,1e0\n11,+2\n12,0.3e1\n\n\n",
    ],
)
def test_equivalent_spellings(regression, text):
    assert parse(regression, text).tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("cells", [("1", "2", "3"), ("1.0", "2.0", "3.0"), (" 1", "2 ", "+3")])
def test_labels_by_canonical_form(label, cells):
    rows = "\n".join(f"{i},{c}" for i, c in zip(IDS, cells, strict=True))
    assert parse(label, f"id,y\n{rows}\n").tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "cells", [("True", "false"), ("TRUE", "False"), ("1", "0"), ("1.0", "0.0"), ("true", "0")]
)
def test_boolean_labels_in_any_spelling(folder, cells):
    spec = task("accuracy", "binary", ("False", "True"))
    answers = loaded(folder, spec, [True, False], ids=["a", "b"])
    assert parse((spec, answers), f"id,y\na,{cells[0]}\nb,{cells[1]}\n").tolist() == [1, 0]


@pytest.mark.parametrize("cells", [("True", "False"), ("TRUE", "false"), ("1.0", "0")])
def test_booleans_stand_for_the_classes_0_and_1(folder, cells):
    spec = task("f1", "binary", ("0", "1"))
    answers = loaded(folder, spec, [0, 1], ids=["a", "b"])
    assert parse((spec, answers), f"id,y\na,{cells[0]}\nb,{cells[1]}\n").tolist() == [1, 0]


def test_probabilities_by_column_name_and_rescaled_by_row(multi):
    parsed = parse(multi, "c,id,a,b\n0.2,10,0.2,0.4\n0,11,1,0\n0.5,12,0.5,1\n")
    assert parsed == pytest.approx(np.array([[0.25, 0.5, 0.25], [1, 0, 0], [0.25, 0.5, 0.25]]))


def test_probability_is_clipped_only_for_rounding(binary):
    parsed = parse(binary, "id,y\n10,-0.0000000001\n11,1.0000001\n12,0.5\n")
    assert parsed.tolist() == [0.0, 1.0, 0.5]


def test_ranking_metrics_take_any_score(folder):
    spec = task("auc", "binary", ("0", "1"))
    answers = loaded(folder, spec, [0, 1, 0])
    assert parse((spec, answers), "id,y\n10,-3\n11,250\n12,0\n").tolist() == [-3.0, 250.0, 0.0]


def test_text_identifiers_with_commas_quotes_and_newlines(folder):
    ids = ["a,b", 'c"d', "e\nf", "=1+1", "naïve"]
    spec = task("mae", "regression")
    answers = loaded(folder, spec, range(5), ids=ids)
    out = io.StringIO()
    csv.writer(out).writerows([("id", "y"), *((i, n) for n, i in enumerate(ids))])
    assert parse((spec, answers), out.getvalue()).tolist() == [0, 1, 2, 3, 4]


def test_parquet_answers_of_every_id_type(folder):
    spec = task("mae", "regression")
    for ids in ([1, 2], [1.0, 2.0], ["1", "2"], ["x", "y"], [True, False]):
        path = folder / "typed.parquet"
        pd.DataFrame({"id": ids, "y": [0.5, 1.5]}).to_parquet(path)
        answers = load_answers(spec, path, view="search")
        written = pd.DataFrame({"id": ids, "y": [7.0, 8.0]}).iloc[::-1].to_csv(index=False)
        assert parse((spec, answers), written).tolist() == [7.0, 8.0]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([0.1, 2.5], dtype="float32"),
        pd.Series([0.1, 2.5], dtype="Float32"),
        pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02"])),
        pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02 12:30"], format="mixed")),
        pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02"], utc=True)),
        pd.Series(["b", "a"], dtype="category"),
        pd.Series([2**62, 2**62 + 1]),
    ],
    ids=lambda c: str(c.dtype),
)
def test_typed_identifiers_are_spelled_as_pandas_writes_them(folder, column):
    spec = task("mae", "regression")
    path = folder / "typed.parquet"
    table = pd.DataFrame({"id": column, "y": [7.0, 8.0]})
    table.to_parquet(path)
    answers = load_answers(spec, path, view="search")
    assert parse((spec, answers), table.iloc[::-1].to_csv(index=False)).tolist() == [7.0, 8.0]


def test_identifiers_that_are_equal_as_numbers_are_told_apart(folder):
    spec = task("mae", "regression")
    answers = loaded(folder, spec, [1, 2, 3], ids=["1e3", "1000", "1000.0"])
    assert parse((spec, answers), "id,y\n1000,2\n1000.0,3\n1e3,1\n").tolist() == [1.0, 2.0, 3.0]
    assert parse((spec, answers), "id,y\n1000.0,2\n1000.0,3\n1000.0,1\n").kind == "duplicate_ids"


@pytest.mark.parametrize("classes", [("a", " a ", "A"), ("a\nb", "c,d", 'e"f'), ("x y", "X Y", "x_y")])
def test_class_columns_of_any_spelling(folder, classes):
    spec = task("logloss", "multiclass", classes)
    answers = loaded(folder, spec, classes)
    table = pd.DataFrame(np.eye(3), columns=list(classes))
    table.insert(0, "id", IDS)
    for order in (list(table), list(table)[::-1]):
        assert parse((spec, answers), table[order].to_csv(index=False)).tolist() == np.eye(3).tolist()


def test_target_with_a_line_break(folder):
    spec = task("mae", "regression", target="price\n(EUR)")
    answers = loaded(folder, spec, [1, 2, 3])
    text = pd.DataFrame({"id": IDS, spec.target: [4, 5, 6]}).to_csv(index=False)
    assert parse((spec, answers), text).tolist() == [4.0, 5.0, 6.0]


# --- refused ----------------------------------------------------------------------------------------------

HOSTILE = {
    "nothing": (b"", "empty"),
    "blanks": (b" \n\n ", "empty"),
    "header only": (b"id,y\n", "missing_rows"),
    "header without newline": (b"id,y", "missing_rows"),
    "gzip": (gzip.compress(b"0" * 10_000_000), "not_csv"),
    "zip": (b"PK\x03\x04rest", "not_csv"),
    "parquet": (b"PAR1rest", "not_csv"),
    "null bytes": (b"id,y\n10,1\n11,2\n12,\x003\n", "not_text"),
    "utf-16": ("id,y\n10,1\n".encode("utf-16"), "not_text"),
    "latin-1 header": ("id,é\n".encode("latin-1"), "not_text"),
    "latin-1 cell": (b"id,y\n10,1\n11,2\n\xe9,3\n", "not_text"),
    "too long": (b"id,y\n" + b"10,1\n" * 1_000_000, "too_large"),
    "wrong name": (b"id,prediction\n10,1\n", "wrong_columns"),
    "no id": (b"y\n1\n2\n3\n", "wrong_columns"),
    "one column": (b"id\n10\n11\n12\n", "wrong_columns"),
    "semicolons": (b"id;y\n10;1\n11;2\n12;3\n", "wrong_columns"),
    "pandas index": (b",id,y\n0,10,1\n1,11,2\n2,12,3\n", "wrong_columns"),
    "extra column": (b"id,y,z\n10,1,1\n11,2,2\n12,3,3\n", "wrong_columns"),
    "column twice": (b"id,y,y\n10,1,1\n11,2,2\n12,3,3\n", "wrong_columns"),
    "no header": (b"10,1\n11,2\n12,3\n", "wrong_columns"),
    "many columns": (b"id," + b"a," * 20_000 + b"y\n", "wrong_columns"),
    "huge header cell": (b'"' + b"a" * 60_000 + b'"\n', "wrong_columns"),
    "broken quotes": (b'id,"y\n10,1\n', "not_csv"),
    "ragged long": (b"id,y\n10,1,9\n11,2\n12,3\n", "ragged_rows"),
    "ragged short": (b"id,y\n10\n11,2\n12,3\n", "ragged_rows"),
    "missing row": (b"id,y\n10,1\n11,2\n", "missing_rows"),
    "duplicate": (b"id,y\n10,1\n11,2\n12,3\n12,4\n", "duplicate_ids"),
    "duplicate by spelling": (b"id,y\n10,1\n11,2\n12,3\n12.0,4\n", "duplicate_ids"),
    "unknown": (b"id,y\n10,1\n11,2\n13,3\n", "unknown_ids"),
    "extra row": (b"id,y\n10,1\n11,2\n12,3\n13,3\n", "unknown_ids"),
    "empty id": (b"id,y\n10,1\n11,2\n,3\n", "unknown_ids"),
    "padded id": (b"id,y\n010,1\n11,2\n12,3\n", "unknown_ids"),
    "nan": (b"id,y\n10,1\n11,nan\n12,3\n", "not_finite"),
    "inf": (b"id,y\n10,1\n11,inf\n12,3\n", "not_finite"),
    "minus infinity": (b"id,y\n10,1\n11,-Infinity\n12,3\n", "not_finite"),
    "beyond float": (b"id,y\n10,1\n11,1e400\n12,3\n", "not_finite"),
    "empty cell": (b"id,y\n10,1\n11,\n12,3\n", "missing_values"),
    "text": (b"id,y\n10,1\n11,two\n12,3\n", "not_numeric"),
    "formula": (b"id,y\n10,1\n11,=1+1\n12,3\n", "not_numeric"),
    "underscore": (b"id,y\n10,1\n11,1_0\n12,3\n", "not_numeric"),
    "wide digits": ("id,y\n10,1\n11,２\n12,3\n".encode(), "not_numeric"),
    "boolean": (b"id,y\n10,1\n11,True\n12,3\n", "not_numeric"),
    "list": (b'id,y\n10,1\n11,"[2, 3]"\n12,3\n', "not_numeric"),
    "thousands": (b'id,y\n10,1\n11,"2,000"\n12,3\n', "not_numeric"),
}


@pytest.mark.parametrize(("data", "kind"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_files_are_refused_by_kind(regression, data, kind):
    failure = parse(regression, data)
    assert isinstance(failure, Failure), failure
    assert (failure.boundary, failure.kind) == ("submission", kind)
    assert len(failure.message) <= MESSAGE_CHARS and failure.message.isascii()
    assert not any(answer in failure.message for answer in ("1.5", "2.5", "3.5"))


@pytest.mark.parametrize("cell", ["-0.1", "1.01", "1e308"])
def test_probability_outside_the_unit_interval(binary, cell):
    assert parse(binary, f"id,y\n10,0.5\n11,{cell}\n12,0.5\n").kind == "out_of_range"


@pytest.mark.parametrize(
    ("row", "kind"),
    [("0,0,0", "zero_probabilities"), ("0.5,-0.1,0.6", "out_of_range"), ("1,0,x", "not_numeric")],
)
def test_rows_of_probabilities(multi, row, kind):
    assert parse(multi, f"id,a,b,c\n10,1,0,0\n11,{row}\n12,0,0,1\n").kind == kind


@pytest.mark.parametrize(
    ("cell", "kind"), [("4", "unknown_label"), ("1.5", "unknown_label"), ("", "missing_values")]
)
def test_unknown_labels_name_the_classes(label, cell, kind):
    failure = parse(label, f"id,y\n10,1\n11,{cell}\n12,3\n")
    assert failure.kind == kind
    if kind == "unknown_label":
        assert "1,2,3" in failure.message


def test_a_class_called_nan_is_a_class(folder):
    spec = task("accuracy", "multiclass", ("nan", "None", "ok"))
    answers = loaded(folder, spec, ["nan", "None", "ok"])
    assert parse((spec, answers), "id,y\n10,nan\n11,None\n12,ok\n").tolist() == [0, 1, 2]


def test_leading_zeros_are_part_of_an_identifier(folder):
    spec = task("mae", "regression")
    answers = loaded(folder, spec, [1, 2], ids=["007", "7"])
    assert parse((spec, answers), "id,y\n7,1\n007,2\n").tolist() == [2.0, 1.0]
    only = loaded(folder, spec, [1, 2], ids=["007", "008"])
    failure = parse((spec, only), "id,y\n7,1\n8,2\n")
    assert failure.kind == "unknown_ids" and "dtype=str" in failure.message


@pytest.mark.parametrize(
    ("ids", "sent", "hint"),
    [
        (("NA", "b"), ("", "b"), "keep_default_na=False"),
        (("007", "8"), ("7", "8"), "dtype=str"),
        (("12345678901234567", "8"), ("1.2345678901234568e+16", "8"), "dtype=str"),
    ],
)
def test_identifiers_that_pandas_changes_are_explained(folder, ids, sent, hint):
    spec = task("mae", "regression")
    answers = loaded(folder, spec, [1, 2], ids=list(ids))
    failure = parse((spec, answers), f"id,y\n{sent[0]},1\n{sent[1]},2\n")
    assert failure.kind == "unknown_ids" and hint in failure.message


def test_missing_label_where_a_class_is_called_none(folder):
    spec = task("accuracy", "multiclass", ("None", "a", "b"))
    answers = loaded(folder, spec, ["None", "a", "b"])
    failure = parse((spec, answers), "id,y\n10,\n11,a\n12,b\n")
    assert failure.kind == "missing_values" and "keep_default_na=False" in failure.message


ROOMY = {
    "a million columns": (b"id," + b"a," * 1_000_000 + b"y\n10,1\n", "wrong_columns"),
    "a million cells in a row": (b"id,y\n" + b"1," * 1_000_000 + b"\n", "ragged_rows"),
    "a header that never ends": (b'id,"y' + b"\n" * 3_000_000, "wrong_columns"),
    "a quote that never ends": (b'id,y\n10,"' + b"\n" * 3_000_000, "missing_rows"),
    "blank lines": (b"id,y\n" + b"\n" * 3_000_000, "missing_rows"),
    "a number of a million digits": (b"id,y\n10," + b"9" * 1_000_000 + b"\n11,2\n12,3\n", "not_finite"),
    "an identifier of a million digits": (b"id,y\n" + b"9" * 1_000_000 + b",1\n", "unknown_ids"),
    "a million rows": (b"id,y\n" + b"10,1\n" * 1_000_000, "duplicate_ids"),
}


@pytest.mark.parametrize(("data", "kind"), ROOMY.values(), ids=ROOMY.keys())
def test_large_files_below_the_cap_of_a_large_view(regression, data, kind):
    spec, answers = regression
    failure = parse((spec, dataclasses.replace(answers, byte_cap=1 << 30)), data)
    assert failure.kind == kind and len(failure.message) <= MESSAGE_CHARS


def test_the_text_of_a_ragged_row_is_not_repeated(regression):
    failure = parse(regression, "id,y\n10,1\n11,2,private\n12,3\n")
    assert "Row #2" in failure.message and "private" not in failure.message


def test_rmsle_domain(folder):
    spec = task("rmsle", "regression")
    assert parse((spec, loaded(folder, spec, [1, 2, 3])), "id,y\n10,1\n11,-1\n12,3\n").kind == "out_of_range"


# --- never raises -----------------------------------------------------------------------------------------

CELLS = st.one_of(
    st.sampled_from([*IDS, "0.5", "1", "yes", "no", "a", "nan", "", '"', "1e999", "\r", "'", "None", "=A1"]),
    st.text(max_size=8),
)


@given(st.binary(max_size=300), st.sampled_from([b"", b"id,y\n", b"id,a,b,c\n", b"\xef\xbb\xbfid,y\r\n"]))
def test_arbitrary_bytes_never_raise(regression, binary, multi, label, data, head):
    for given_task in (regression, binary, multi, label):
        result = parse(given_task, head + data)
        assert isinstance(result, (Failure, np.ndarray))


@given(st.lists(st.lists(CELLS, min_size=1, max_size=5), max_size=6), st.booleans())
def test_arbitrary_tables_never_raise(regression, binary, multi, label, rows, quoted):
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL).writerows(rows)
    for given_task, head in (
        (regression, "id,y\n"),
        (binary, "id,y\n"),
        (multi, "id,a,b,c\n"),
        (label, "id,y\n"),
    ):
        for text in (out.getvalue(), head + out.getvalue()):
            result = parse(given_task, text.encode("utf-8", "surrogatepass"))
            if isinstance(result, Failure):
                assert 0 < len(result.message) <= MESSAGE_CHARS
            else:
                assert len(result) == 3 and np.isfinite(result).all()


@given(
    st.permutations(range(3)),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
)
def test_any_order_of_rows_gives_the_same_predictions(regression, order, values):
    text = "id,y\n" + "".join(f"{IDS[i]},{values[i]!r}\n" for i in order)
    assert parse(regression, text).tolist() == values


# --- canonical text and answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1", "1"), ("1.0", "1"), ("+1", "1"), ("-0", "0"), ("1.", "1"), ("1e2", "100"), (" x ", "x")),
        *(
            ("007", "007"),
            ("1.50", "1.5"),
            ("12345678901234567890", "12345678901234567890"),
            ("1e400", "1e400"),
        ),
        *(("nan", "nan"), ("１", "１"), ("1_0", "1_0"), ("0x1", "0x1"), ("", "")),
    ],
)
def test_canonical(text, expected):
    assert canonical(text) == expected


@given(st.one_of(st.integers().map(str), st.floats().map(repr), st.text(max_size=12)))
def test_canonical_is_idempotent(text):
    assert canonical(canonical(text)) == canonical(text)


def test_classes_that_differ_by_spelling_alone_are_told_apart():
    resolve = label_resolver(["1", "1.0"])
    assert [resolve("1"), resolve("1.0"), resolve("1.00")] == [0, 1, -1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("y\n1\n", "no column 'id'"),
        ("id\n1\n", "no column 'y'"),
        ("id,y\n", "no rows"),
        ("id,y\n1,2\n1,3\n", "twice"),
        ("id,y\n1,2\n2,\n", "missing or not a number"),
        ("id,y\n1,2\n2,inf\n", "not finite"),
        ("", "cannot be read"),
    ],
)
def test_broken_answers_are_the_graders_trouble(tmp_path, content, message):
    path = tmp_path / "answers.csv"
    path.write_text(content)
    with pytest.raises(GradingError, match=message):
        load_answers(task("mae", "regression"), path, view="search")


def test_answers_of_one_class_leave_auc_undefined(folder):
    with pytest.raises(GradingError, match="auc is undefined, since the hidden rows hold one class only"):
        loaded(folder, task("auc", "binary", ("0", "1")), [1, 1, 1])


def test_answers_outside_the_classes(folder):
    with pytest.raises(GradingError, match="1 targets are none of the task's classes"):
        loaded(folder, task("accuracy", "binary", ("0", "1")), [0, 1, 2])


def test_class_named_like_the_identifier(folder):
    with pytest.raises(GradingError, match="rename"):
        loaded(folder, task("logloss", "multiclass", ("id", "b", "c")), ["id", "b", "c"])


def test_view_without_answers_has_identifiers_only(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("id,x\n1,a\n2,b\n")
    spec = TaskSpec(id="t", problem="regression", metric=Metric(name="mae", direction="min"), target="y")
    answers = load_answers(spec, path, view="final", graded=False)
    assert answers.ids == ["1", "2"] and answers.truth is None
    assert parse((spec, answers), "id,y\n2,1\n1,2\n").tolist() == [2.0, 1.0]
