"""Reading a submission as what it is: a file written by a program that may be wrong or hostile.

Nothing here raises on any content. What is wrong becomes a `Failure` with a stable kind and a message that
says what to do and tells nothing of the answers. Choices where formats differ:

- Rows may come in any order. Identifiers and labels are compared as they are spelled, and where that finds
  nothing by `dojo.mle.answers.canonical`.
- Ranking metrics (AUC, Gini, average precision) take any finite score; otherwise a probability must lie in
  [0, 1], up to rounding.
- Rows of class probabilities are rescaled to sum to 1, as Kaggle's multi-class log loss does; a row that
  sums to 0 is refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pa_csv

from dojo.errors import Failure
from dojo.mle.answers import Answers, canonical, label_resolver, submission_columns
from dojo.mle.delong import Floats
from dojo.mle.refusal import quote, refuse, too_large
from dojo.mle.resample import Indices
from dojo.mle.scorers import Values
from dojo.task import TaskSpec

RANKING = frozenset({"auc", "gini", "average_precision"})
_ROUNDING = 1e-6
_BOM = b"\xef\xbb\xbf"
_CSV = pa_csv.ParseOptions(newlines_in_values=True)
_LOSSY = re.compile(r"0\d+|\d{16,}|\d+[eE]\d+", re.ASCII)
_INK = re.compile(rb"\S")
_MISSING = frozenset({"", "na", "n/a", "nan", "none", "null"})
MOST_HEADER_BYTES = 1 << 20
"""Longest header read where the columns are not known beforehand."""
_COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PAR1")


def read_cells(data: bytes, columns: Sequence[str]) -> dict[str, pa.ChunkedArray] | Failure:
    """Split a CSV with exactly these columns, in any order, into columns of text."""
    if not _INK.search(data):
        return refuse(
            "empty", f"submission.csv is empty; write the header {_listed(columns)} and one line per row"
        )
    if data.startswith(_COMPRESSED):
        return refuse("not_csv", "submission.csv is compressed or binary; write plain CSV text")
    if b"\0" in data:
        return refuse("not_text", "submission.csv holds null bytes; write plain CSV text as UTF-8")
    header = _split_header(data, 4096 + 8 * sum(len(name.encode()) + 1 for name in columns))
    if isinstance(header, Failure):
        return header
    names = _match_header(header[0], columns)
    if isinstance(names, Failure):
        return names
    if not _INK.search(data, header[1]):
        return refuse("missing_rows", "submission.csv has a header and no rows; write one line per test row")
    try:
        table = pa_csv.read_csv(
            pa.py_buffer(data).slice(header[1]),
            read_options=pa_csv.ReadOptions(use_threads=False, column_names=names, block_size=len(data) + 1),
            parse_options=_CSV,
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as exc:
        return _unreadable(str(exc))
    return {name: table[name] for name in names}


def _unreadable(message: str) -> Failure:
    if "UTF8" in message:
        return refuse("not_text", "submission.csv is not UTF-8; write it with encoding='utf-8'")
    if "Expected" in message:
        head = message.split("\n")[0].replace("CSV parse error: ", "").partition(": Expected")
        # Arrow's message goes on with the row's text, which is not repeated here.
        return refuse(
            "ragged_rows",
            f"{head[0]} below the header has more or fewer cells than it; quote cells that hold commas",
        )
    return refuse(
        "not_csv", "submission.csv cannot be parsed as CSV; write it with DataFrame.to_csv(index=False)"
    )


def _listed(columns: Sequence[str]) -> str:
    names = [quote(c)[1:-1] for c in columns[:6]]
    return ",".join(names) + (f",... ({len(columns)} columns)" if len(columns) > 6 else "")


def _split_header(data: bytes, most: int) -> tuple[list[str], int] | Failure:
    """The column names, and the offset of the byte after them; a line break in quotes is part of a name."""
    end, quotes = -1, 0
    while (end < 0 or quotes % 2) and end < len(data):
        start = end + 1
        end = data.find(b"\n", start, most)
        if end < 0:
            end = len(data)
            if end > most:
                return refuse(
                    "wrong_columns", f"the header has over {most} bytes; write only the wanted columns"
                )
        quotes += data.count(b'"', start, end)
    try:
        line = data[:end].removeprefix(_BOM).decode("utf-8").removesuffix("\r")
        return next(csv.reader([line], strict=True), []), end + 1
    except UnicodeDecodeError:
        return refuse("not_text", "submission.csv is not UTF-8; write it with encoding='utf-8'")
    except csv.Error:
        return refuse("not_csv", "the header of submission.csv cannot be parsed; write one line of names")


def header_names(data: bytes) -> list[str] | Failure:
    """The column names in the header, blanks around them removed."""
    header = _split_header(data, MOST_HEADER_BYTES)
    return header if isinstance(header, Failure) else [name.strip() for name in header[0]]


def _match_header(given: list[str], columns: Sequence[str]) -> list[str] | Failure:
    """The wanted columns in the order in which they are given; blanks around a name do not matter."""
    if len(given) == len(columns) and set(given) == set(columns):
        return given
    wanted = {name.strip(): name for name in columns}
    stripped = [name.strip() for name in given]
    present = set(stripped)
    missing = [name for name in columns if name.strip() not in present]
    extra = [name for name in stripped if name not in wanted]
    if not missing and not extra and len(present) == len(stripped) == len(columns):
        return [wanted[name] for name in stripped]
    parts = [f"the header must be {_listed(columns)}"]
    if missing:
        parts.append(f"missing: {_listed(missing)}")
    if extra:
        parts.append(f"not wanted: {_listed(extra)}")
    if len(stripped) > len(present):
        parts.append("a column occurs twice")
    if len(stripped) == 1 and any(mark in stripped[0] for mark in ";\t|"):
        parts.append("separate cells by commas")
    if any(name in ("", "Unnamed: 0", "index") for name in extra):
        parts.append("write with index=False")
    return refuse("wrong_columns", "; ".join(parts))


def align_ids(cells: pa.ChunkedArray, answers: Answers) -> Indices | Failure | None:
    """Row of the submission for each row of the answers, shape (n,); None if they are in order already."""
    given: list[str] = cells.to_pylist()
    if given == answers.ids:
        return None
    n = len(answers.ids)
    rows = np.full(n, -1, dtype=np.int64)
    unknown = duplicates = 0
    example = ""
    find = answers.position.get
    for row, text in enumerate(given):
        at = find(text, -1)
        if at < 0:
            at = find(canonical(text), -1)
        if at < 0:
            unknown += 1
            example = example or (text.strip() or "an empty identifier")
        elif rows[at] >= 0:
            duplicates += 1
        else:
            rows[at] = row
    missing = int(np.count_nonzero(rows < 0))
    if duplicates:
        return refuse(
            "duplicate_ids", f"{duplicates} identifiers occur more than once; write each test row once"
        )
    if unknown:
        return refuse(
            "unknown_ids",
            f"{unknown} of {len(given)} identifiers are not in test (first: {quote(example)}), {missing} of "
            f"its {n} rows have no line; copy the identifiers from test{_reading_hint(answers.ids)}",
        )
    if missing:
        return refuse("missing_rows", f"{missing} of {n} test rows have no line; write one line per test row")
    return rows


def _reading_hint(ids: Sequence[str]) -> str:
    """How to read identifiers that pandas changes by default; test's identifiers are public."""
    if any(text.strip().lower() in _MISSING for text in ids):
        return "; some look like missing values: read them with dtype=str, keep_default_na=False"
    if any(_LOSSY.fullmatch(text.strip()) for text in ids):
        return "; some change when read as numbers: read the column as text (dtype=str)"
    return ""


def _numbers(cells: pa.ChunkedArray, column: str) -> Floats | Failure:
    try:
        values = pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(cells)
        try:
            values = pc.cast(trimmed, pa.float64())
        except pa.ArrowInvalid:
            return _not_numeric(trimmed.to_pylist(), column)
    numbers = values.to_numpy()
    bad = int(np.count_nonzero(~np.isfinite(numbers)))
    if bad:
        return refuse(
            "not_finite",
            f"column {quote(column)} holds {bad} NaN or infinite values; every prediction must be finite",
        )
    return np.asarray(numbers, dtype=np.float64)


def _not_numeric(texts: list[str], column: str) -> Failure:
    empty = sum(not text for text in texts)
    if empty:
        return refuse("missing_values", f"column {quote(column)} has {empty} empty cells; predict every row")
    for text in texts:
        try:
            pc.cast(pa.scalar(text), pa.float64())
        except pa.ArrowInvalid:
            return refuse(
                "not_numeric",
                f"column {quote(column)} must hold numbers and has {quote(text)}; write floats such as 0.25",
            )
    raise AssertionError("a column was refused and none of its cells")


def _labels(cells: pa.ChunkedArray, answers: Answers, column: str) -> Values | Failure:
    encoded = cells.combine_chunks().dictionary_encode()
    resolve = label_resolver(answers.classes)
    texts: list[str] = encoded.dictionary.to_pylist()
    codes = np.empty(len(texts), dtype=np.int64)
    for at, text in enumerate(texts):
        code = resolve(text)
        if code < 0:
            if text.strip().lower() in _MISSING:
                named = any(name.strip().lower() in _MISSING for name in answers.classes)
                hint = "; a class has such a name: read train with keep_default_na=False" if named else ""
                return refuse(
                    "missing_values", f"column {quote(column)} has missing labels; predict every row{hint}"
                )
            return refuse(
                "unknown_label",
                f"column {quote(column)} holds {quote(text)}; write class labels out of "
                f"{_listed(answers.classes)}, not probabilities, codes or unrounded numbers",
            )
        codes[at] = code
    return np.asarray(codes[encoded.indices.to_numpy()])


def _unit_interval(p: Floats, column: str) -> Floats | Failure:
    outside = int(np.count_nonzero((p < -_ROUNDING) | (p > 1.0 + _ROUNDING)))
    if outside:
        return refuse(
            "out_of_range",
            f"column {quote(column)} has {outside} values outside [0, 1]; write probabilities",
        )
    return np.clip(p, 0.0, 1.0)


def parse_submission(data: bytes, spec: TaskSpec, answers: Answers) -> Values | Failure:
    """Predictions in the order of the answers; see `dojo.mle.scorers` for shapes and dtypes."""
    if len(data) > answers.byte_cap:
        return too_large(len(data), answers.byte_cap)
    cells = read_cells(data, submission_columns(spec))
    if isinstance(cells, Failure):
        return cells
    rows = align_ids(cells.pop(spec.id_column), answers)
    if isinstance(rows, Failure):
        return rows
    parsed = _predictions(cells, spec, answers)
    return parsed if rows is None or isinstance(parsed, Failure) else parsed[rows]


def _predictions(cells: dict[str, pa.ChunkedArray], spec: TaskSpec, answers: Answers) -> Values | Failure:
    needs = spec.metric.needs
    if needs == "label":
        return _labels(cells[spec.target], answers, spec.target)
    columns = []
    for name in spec.classes if needs == "probabilities" else (spec.target,):
        values = _numbers(cells[name], name)
        if not isinstance(values, Failure) and needs != "value" and spec.metric.name not in RANKING:
            values = _unit_interval(values, name)
        if isinstance(values, Failure):
            return values
        columns.append(values)
    if needs != "probabilities":
        return _log_domain(columns[0], spec)
    table = np.column_stack(columns)
    total = table.sum(axis=1, keepdims=True)
    bad = int(np.count_nonzero(total <= 0))
    if bad:
        return refuse(
            "zero_probabilities", f"{bad} rows have probability 0 for every class; each row should sum to 1"
        )
    return np.asarray(table / total)


def _log_domain(values: Floats, spec: TaskSpec) -> Floats | Failure:
    if spec.metric.name == "rmsle" and values.min() <= -1:
        bad = int(np.count_nonzero(values <= -1))
        return refuse(
            "out_of_range", f"{bad} predictions are -1 or below, where log(1 + value) ends; clip at 0"
        )
    return values
