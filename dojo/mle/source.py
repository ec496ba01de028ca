"""Reading a user's own file: any common CSV dialect, or parquet; every oddity is repaired and said, or refused.

What is refused is refused in one line that names the file and the place and says what to do.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dojo.errors import TaskError
from dojo.mle import tables

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
_SEPARATORS = (",", ";", "\t", "|")
_SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_DECIMAL_COMMA = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?$")
_MAX_FIELD = 16 * 2**20


@dataclass
class SourceTable:
    """A user's table as read: text cells from CSV, types from parquet, and what was repaired."""

    frame: pd.DataFrame
    notes: list[str]


def read_source(path: Path, encoding: str = "utf-8") -> SourceTable:
    """Read a `.csv`, `.tsv`, `.txt` or `.parquet` file.

    Raises:
        TaskError: the file is missing, empty, not of its kind, or damaged.
    """
    where = str(path)
    if path.is_dir():
        raise TaskError("is a folder; give a .csv, .tsv or .parquet file", where)
    if not path.is_file():
        raise TaskError("no such file", where)
    if path.suffix.lower() not in SUFFIXES:
        raise TaskError(
            f"cannot read {path.suffix or 'a file without suffix'}; give .csv, .tsv or .parquet", where
        )
    try:
        if path.stat().st_size == 0:
            raise TaskError("is empty; give a file with a header line and rows", where)
        table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, encoding)
    except OSError as exc:
        raise TaskError(f"cannot be read: {exc.strerror or tables.one_line(exc)}", where) from exc
    table.frame.columns = pd.Index(_names([str(c) for c in table.frame.columns], where, table.notes))
    _drop_saved_index(table)
    if len(table.frame) == 0:
        raise TaskError("has a header but no rows", where)
    if table.frame.shape[1] < 2:
        raise TaskError("has one column only; a target and at least one other column are needed", where)
    return table


def _read_parquet(path: Path) -> SourceTable:
    try:
        frame = pd.read_parquet(path)
    except ValueError as exc:  # pyarrow's errors are ValueErrors or OSErrors
        raise TaskError(f"is no readable parquet file: {tables.one_line(exc)}", str(path)) from exc
    except OSError as exc:
        raise TaskError(f"is no readable parquet file: {tables.one_line(exc)}", str(path)) from exc
    named = frame.index.names != [None]
    frame = frame.reset_index(drop=not named)
    notes = []
    for name in frame.columns:
        values = frame[name].dropna()
        if (
            values.dtype == object
            and len(values)
            and isinstance(values.iloc[0], list | dict | bytes | np.ndarray)
        ):
            notes.append(f"Column {str(name)!r} holds nested values and was left out.")
            frame = frame.drop(columns=name)
    return SourceTable(frame, notes)


def _read_csv(path: Path, encoding: str) -> SourceTable:
    where = str(path)
    text = _decode(path, encoding)
    if not text.strip():
        raise TaskError("is empty; give a file with a header line and rows", where)
    separator = "\t" if path.suffix.lower() == ".tsv" else _sniff(text)
    notes = []
    if separator != "," and path.suffix.lower() != ".tsv":
        notes.append(f"Fields are separated by {_SEPARATOR_NAMES[separator]}.")
    rows = _parse(text, separator, where)
    frame = pd.DataFrame(rows[1:], columns=pd.Index(rows[0]), dtype="str")
    hollow = [
        i for i, name in enumerate(rows[0]) if not name.strip() and (frame.iloc[:, i].str.strip() == "").all()
    ]
    if hollow and len(frame):
        frame = frame.iloc[:, [i for i in range(frame.shape[1]) if i not in hollow]]
        notes.append(f"{len(hollow)} columns without name and content were left out.")
    if separator != ",":
        _decimal_commas(frame, notes)
    return SourceTable(frame, notes)


def _decode(path: Path, encoding: str) -> str:
    raw = path.read_bytes()
    where = str(path)
    if encoding.lower() in ("utf-8", "utf8"):
        encoding = "utf-8-sig"
    if raw[:4] == b"PAR1":
        raise TaskError("is a parquet file; rename it to .parquet", where)
    if raw[:2] == b"PK":
        raise TaskError("is a zip archive or a spreadsheet; unpack it or save it as CSV", where)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") and encoding == "utf-8-sig":
        raise TaskError("is UTF-16; save it as UTF-8, or say --encoding utf-16", where)
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as exc:
        line = raw[: exc.start].count(b"\n") + 1
        raise TaskError(
            f"is not {exc.encoding} (byte 0x{raw[exc.start]:02x} in line {line}); save it as UTF-8, or say "
            "--encoding cp1252 (Windows, Western Europe) or another",
            where,
        ) from None
    except LookupError:
        raise TaskError(
            f"unknown encoding {encoding!r}; try utf-8, cp1252, latin-1 or utf-16", "--encoding"
        ) from None
    if "\x00" in text:
        raise TaskError("holds NUL bytes; it is no text file", where)
    return text


def _sniff(text: str) -> str:
    """The separator that cuts the first lines into the same number (at least two) of fields, comma first."""
    head = "\n".join(text[:200_000].splitlines()[:50])
    best, most = ",", 1
    for separator in _SEPARATORS:
        widths = [len(row) for row in csv.reader(io.StringIO(head), delimiter=separator) if row]
        if widths and widths[0] > most and sum(w == widths[0] for w in widths) >= 0.9 * len(widths):
            best, most = separator, widths[0]
    return best


@contextmanager
def _wide_fields() -> Iterator[None]:
    previous = csv.field_size_limit(_MAX_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(previous)


def _parse(text: str, separator: str, where: str) -> list[list[str]]:
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        with _wide_fields():
            for row in reader:
                if not row or (len(row) == 1 and not row[0].strip()):
                    continue
                if rows and len(row) != len(rows[0]):
                    raise TaskError(
                        f"line {reader.line_num} has {len(row)} fields, the header has {len(rows[0])}; quote fields "
                        "that hold the separator, and fill up short lines",
                        where,
                    )
                rows.append(row)
    except csv.Error as exc:
        raise TaskError(f"line {reader.line_num}: {exc}; check the quotes", where) from None
    return rows


def _names(names: list[str], where: str, notes: list[str]) -> list[str]:
    """Column names without blanks around them; refuses what cannot be told apart."""
    clean = [" ".join(name.split()) for name in names]
    if clean != names and any(a.strip() != b for a, b in zip(names, clean, strict=True)):
        notes.append("Line breaks and double blanks in column names became single blanks.")
    if clean and all(re.fullmatch(r"[+-]?\d+(\.\d+)?", name) for name in clean):
        raise TaskError(
            "the first line holds numbers only; put a line with the column names before it", where
        )
    twice = [name for name, count in Counter(clean).items() if count > 1 and name]
    if twice:
        raise TaskError(f"column {twice[0]!r} is there twice; rename one", where)
    blank = [i for i, name in enumerate(clean) if not name]
    if len(blank) > 1 or (blank and blank[0] > 0):
        raise TaskError(f"column {blank[-1] + 1} has no name; name it in the first line", where)
    return clean


def _drop_saved_index(table: SourceTable) -> None:
    first = str(table.frame.columns[0])
    if first not in ("", "Unnamed: 0"):
        return
    column = table.frame[first]
    if not column.is_unique:
        raise TaskError("the first column has no name; name it in the first line", "header")
    table.frame = table.frame.drop(columns=first)
    table.notes.append("The first column has no name and numbers the rows; it was left out.")


def _decimal_commas(frame: pd.DataFrame, notes: list[str]) -> None:
    """`1.234,5` becomes `1234.5` in columns where every number is written so."""
    changed = []
    for name in frame.columns:
        cells = frame[name].str.strip()
        present = cells[~tables.is_missing(cells)]
        if (
            len(present)
            and present.str.contains(",").any()
            and present.str.fullmatch(_DECIMAL_COMMA.pattern).all()
        ):
            frame[name] = cells.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
            changed.append(str(name))
    if changed:
        notes.append(f"Decimal commas became points in: {', '.join(changed[:8])}.")
