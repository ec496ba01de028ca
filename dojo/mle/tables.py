"""Reading and writing tables without changing what is in them.

A CSV is read as text, cell by cell, and written back as text: a zip code stays `00501`, a number keeps its
last digit. Parquet keeps its types. Only the target, the time and the group column are ever interpreted.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dojo.errors import TaskError

FORMATS = (".csv", ".parquet")
MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    }
)
"""What `pandas.read_csv` reads as a missing value; solutions will see these cells as missing."""

_INTEGER = re.compile(r"[+-]?\d{1,15}(\.0*)?$")
_SHORT_DATE = re.compile(r"^(\d{1,2})[/.-](\d{1,2})[/.-]\d{2,4}\b")
_BOOLEAN = {
    "true": "True",
    "TRUE": "True",
    "True": "True",
    "false": "False",
    "FALSE": "False",
    "False": "False",
}


def read_table(path: Path) -> pd.DataFrame:
    """Read a prepared table: CSV cells as text (empty text where empty), parquet with its types.

    Raises:
        TaskError: the file is missing or cannot be parsed.
    """
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        column_names(path)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False)
    except (ValueError, OSError) as exc:  # pandas' and pyarrow's parser errors are ValueErrors or OSErrors
        raise TaskError(f"cannot be read as {path.suffix.lstrip('.')}: {one_line(exc)}", path.name) from exc
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first column for row names then
        raise TaskError("rows have more fields than the header; repair them, or use dojo new", path.name)
    return frame


def column_names(path: Path) -> list[str]:
    """The column names of a prepared table, without reading its rows.

    Raises:
        TaskError: the file cannot be read, or a name is there twice (pandas would rename it in silence).
    """
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return [str(name) for name in pq.read_schema(path).names]
        with path.open(encoding="utf-8-sig", newline="") as handle:
            header = next(csv.reader(handle), [])
    except UnicodeDecodeError:
        raise TaskError("is not UTF-8; save it as UTF-8, or use dojo new --encoding", str(path)) from None
    except (ValueError, OSError) as exc:
        raise TaskError(f"cannot be read: {one_line(exc)}", str(path)) from exc
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise TaskError(f"column {twice[0]!r} is there twice; rename one", path.name)
    return header


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table; floats are written so that reading them gives the same number."""
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, lineterminator="\n")


def one_line(exc: BaseException, limit: int = 200) -> str:
    """The message of an exception on one line."""
    return " ".join(str(exc).split())[:limit]


def is_missing(column: pd.Series) -> npt.NDArray[np.bool_]:
    """Which cells are missing, for a text column as for a typed one."""
    mask = column.isna().to_numpy()
    if _is_text(column):
        mask = mask | column.isin(MISSING).to_numpy()
    return np.asarray(mask, dtype=bool)


def numbers(column: pd.Series) -> npt.NDArray[np.float64]:
    """The cells as float64, exactly; NaN where missing or not a number. Shape `(n,)`."""
    if not _is_text(column):
        return np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    # pandas' own text-to-number parser may be off in the last bit; Python's float is exact.
    return np.fromiter((_number(cell) for cell in column), dtype=np.float64, count=len(column))


def _number(cell: object) -> float:
    try:
        # float() also takes "1_000", which no CSV reader does.
        return float("nan") if "_" in str(cell) else float(str(cell))
    except ValueError:
        return float("nan")


def _is_text(column: pd.Series) -> bool:
    return bool(pd.api.types.is_string_dtype(column.dtype) or pd.api.types.is_object_dtype(column.dtype))


def labels(column: pd.Series) -> pd.Series:
    """Class labels as text, in the form in which they come back after `pandas.read_csv`.

    Whole numbers lose their `.0` and leading zeros, booleans become `True`/`False`, blanks around text go.
    Otherwise a solution that reads `01` as the number 1 would predict a class that does not exist.
    Missing cells stay missing (None).
    """
    gone = is_missing(column)
    text = pd.Series([None if m else str(v).strip() for v, m in zip(column, gone, strict=True)], dtype=object)
    present = text[~gone]
    distinct = set(present)
    if distinct and all(_INTEGER.match(v) for v in distinct):
        mapping = {v: str(int(float(v))) for v in distinct}
    elif distinct and distinct <= _BOOLEAN.keys():
        mapping = {v: _BOOLEAN[v] for v in distinct}
    elif distinct and all(np.isfinite(_number(v)) for v in distinct):
        mapping = {v: repr(_number(v)) for v in distinct}
    else:
        return text
    text[~gone] = present.map(mapping)
    return text


def label_text(column: pd.Series) -> pd.Series:
    """Labels of a prepared target column as text; text has been through `labels` and stays as it is."""
    return column.astype(str) if _is_text(column) else labels(column)


def duplicate_ids(column: pd.Series) -> list[str]:
    """Identifiers that occur again, in the form in which submissions are matched (`7`, ` 7` and `7.0` are one)."""
    text = column.astype(str).str.strip().str.replace(r"^([+-]?\d+)\.0*$", r"\1", regex=True)
    return [str(v) for v in text[text.duplicated()]]


def sorted_labels(values: set[str]) -> tuple[str, ...]:
    """Class labels in a stable order: numbers by value, text by code point."""
    if all(np.isfinite(_number(v)) for v in values):
        return tuple(sorted(values, key=lambda v: (_number(v), v)))
    return tuple(sorted(values))


def time_key(column: pd.Series, where: str) -> npt.NDArray[np.float64]:
    """Time as sortable numbers (the number itself, or seconds since 1970). Shape `(n,)`.

    Numbers that read as dates (`20240131`) sort the same either way.

    Raises:
        TaskError: a cell is missing, is neither a number nor a date, or may be read as two dates.
    """
    gone = is_missing(column)
    if gone.any():
        row = int(np.flatnonzero(gone)[0])
        raise TaskError(
            f"{int(gone.sum())} rows have no time (first: data row {row + 1}); fill them or drop these rows",
            where,
        )
    if not pd.api.types.is_datetime64_any_dtype(column.dtype):
        values = numbers(column)
        if np.isfinite(values).all():
            return values
    moments = parse_dates(column, where).astype("datetime64[us, UTC]").astype("int64")
    return np.asarray(moments / 1e6, dtype=np.float64)


def parse_dates(column: pd.Series, where: str) -> pd.Series:
    """Cells as moments in UTC; day and month of `31/01/2024` are told apart by the whole column.

    Raises:
        TaskError: a cell is no date, or no cell tells which of two numbers is the day.
    """
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return pd.to_datetime(column, utc=True)
    text = column.astype(str)
    short = text.str.extract(_SHORT_DATE)
    day_first = False
    if short.notna().any(axis=None):
        if short.isna().any(axis=None):
            odd = text[short[0].isna()].iloc[0]
            raise TaskError(
                f"{odd[:40]!r} is written unlike {text[short[0].notna()].iloc[0]!r}; write dates as YYYY-MM-DD",
                where,
            )
        first, second = (short[i].astype(int) > 12 for i in (0, 1))
        if first.any() == second.any():
            why = "some have the day first, some second" if first.any() else "which number is the day?"
            raise TaskError(f"dates like {text.iloc[0]!r}: {why} Write dates as YYYY-MM-DD", where)
        day_first = bool(first.any())
    parsed = pd.to_datetime(text, errors="coerce", format="mixed", dayfirst=day_first, utc=True)
    bad = np.flatnonzero(parsed.isna().to_numpy())
    if bad.size:
        cell = str(text.iloc[int(bad[0])])[:40]
        raise TaskError(
            f"{bad.size} cells are neither a number nor a date (first: {cell!r} in data row "
            f"{int(bad[0]) + 1}); write dates as YYYY-MM-DD",
            where,
        )
    return parsed


def content_hash(frame: pd.DataFrame) -> str:
    """A hash of names and values that does not depend on the file format or the writer's version."""
    digest = hashlib.sha256("\x1f".join(map(str, frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
