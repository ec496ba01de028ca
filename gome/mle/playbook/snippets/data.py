"""Reading tables and giving columns a type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_datetime64_any_dtype, is_numeric_dtype, is_timedelta64_dtype


def read_table(folder: Path, name: str, raw_columns: list[str]) -> pd.DataFrame:
    """Read `name`.parquet or `name`.csv; in a CSV the raw columns are kept as they are written."""
    parquet = folder / f"{name}.parquet"
    if parquet.exists():
        return pd.read_parquet(parquet).reset_index(drop=True)
    path = folder / f"{name}.csv"
    missing = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A"]
    return pd.read_csv(
        path,
        dtype=dict.fromkeys(raw_columns, str),
        keep_default_na=False,
        na_values={c: missing for c in pd.read_csv(path, nrows=0).columns if c not in raw_columns},
        low_memory=False,
    )


def as_numbers(values: pd.Series) -> pd.Series:
    """Floats; what cannot be read and infinities become missing. Signs such as `$1,200` or `5 %` are read."""
    if is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    if not is_numeric_dtype(values):
        text = values.astype("string").str.replace(r"[\s$€£%,]", "", regex=True)
        values = pd.to_numeric(text, errors="coerce")
    numbers = values.astype("Float64").astype("float64")
    return numbers.where(np.isfinite(numbers)).clip(-1e30, 1e30)  # 1e30: the squares still are finite


def as_dates(values: pd.Series, *, day_first: bool = False) -> pd.Series:
    """Timestamps without time zone; what cannot be read becomes missing."""
    if not is_datetime64_any_dtype(values):
        text = values.astype("string")
        values = pd.to_datetime(text, errors="coerce", format="mixed", dayfirst=day_first, utc=True)
    return values.dt.tz_localize(None)


def as_categories(values: pd.Series) -> pd.Series:
    """Level names; missing values are a level of their own."""
    return values.astype("string").str.strip().fillna("(missing)").astype(object)


def as_text(values: pd.Series) -> pd.Series:
    """Texts; an empty or missing one becomes a word of its own."""
    text = values.astype("string").fillna("").str.strip()
    return text.where(text != "", "(empty)").astype(object)


def role_of(values: pd.Series) -> str:
    """What a column holds: `num`, `date`, `day_first` (dates such as 31/12/2020) or `cat`."""
    known = values.dropna()
    if is_datetime64_any_dtype(known):
        return "date"
    if isinstance(known.dtype, pd.CategoricalDtype):
        return "cat"
    if known.empty or is_numeric_dtype(known) or is_timedelta64_dtype(known):
        return "num"
    text = known.astype("string")
    if as_numbers(text).notna().mean() > 0.95:
        return "num"
    first = text.str.extract(r"^(\d{1,4})[-/.]\d{1,2}[-/.]\d{1,4}(?:$|[ T]\d)", expand=False)
    if first.notna().mean() > 0.95:
        return "day_first" if first.dropna().astype(int).between(13, 31).any() else "date"
    return "cat"


def is_text(values: pd.Series) -> bool:
    """Whether a column holds sentences: several words, mostly distinct."""
    text = values.dropna().astype("string")
    return bool(text.str.count(r"\S+").mean() >= 3 and text.nunique() > len(text) / 2)


def is_code(values: pd.Series) -> bool:
    """Whether a column holds strings with a syntax of their own: one word, mostly distinct, mixed signs."""
    text = values.dropna().astype("string")
    if len(text) < 20 or text.nunique() < len(text) / 2 or text.str.contains(r"\s").mean() > 0.05:
        return False
    mixed = text.str.contains(r"[A-Za-z]") & text.str.contains(r"[^A-Za-z]")
    return bool(mixed.mean() > 0.5 and text.str.len().mean() >= 3)


def label_keys(labels: pd.Series) -> pd.Series:
    """Labels in one spelling: 1, 1.0 and "1" are the same."""
    text = labels.astype("string").fillna("").str.strip()
    numbers = pd.to_numeric(text, errors="coerce")
    return text.where(numbers.isna(), numbers.map(lambda number: f"{number:.12g}")).astype(object)


def class_numbers(labels: pd.Series, classes: list[str]) -> np.ndarray:
    """Position of each label among the classes, -1 for a label that is none of them."""
    exact = pd.Index(classes).get_indexer(labels.astype("string").fillna("").astype(object))
    keys = pd.Index(label_keys(pd.Series(classes, dtype=object)))
    if not keys.is_unique:
        return exact
    return np.where(exact >= 0, exact, keys.get_indexer(label_keys(labels)))


def named(x: pd.DataFrame, *prefixes: str) -> pd.DataFrame:
    """The columns whose names start with one of the prefixes."""
    return x.loc[:, [str(column).startswith(prefixes) for column in x]]
