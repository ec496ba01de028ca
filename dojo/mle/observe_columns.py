"""What kind of thing each column holds, judged from the training rows alone."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dojo.environment import Observation
from dojo.task import TaskSpec

FloatArray = NDArray[np.float64]

_SAMPLE = 400
"""Distinct values looked at to judge a string column."""
_DATE = re.compile(
    r"^\s*(\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{8})([T ]\d{1,2}:\d{2}.*)?\s*$"
)
_FORMULA = re.compile(r"^([A-Z][a-z]?\d*){2,}$")
_CODE = re.compile(r"^[A-Za-z0-9@+\-\[\]()=#%/\\.*:]{4,}$")
_CYCLES = {(0, 23), (1, 24), (1, 12), (0, 11), (0, 6), (1, 7), (1, 31), (1, 366), (1, 365), (0, 59), (1, 53)}


class Notes:
    """Collects observations; drops what is not finite, rounds to six significant digits."""

    def __init__(self) -> None:
        self.items: list[Observation] = []

    def add(self, name: str, value: float | str, text: str) -> None:
        """Add one observation; a number that is not finite is left out, since it states nothing."""
        if isinstance(value, str):
            self.items.append(Observation(name=name, value=value[:80], text=text[:240]))
            return
        number = float(value)
        if math.isfinite(number):
            self.items.append(Observation(name=name, value=float(f"{number:.6g}"), text=text[:240]))


@dataclass(frozen=True)
class Columns:
    """Feature columns by kind; the identifier, the target and the group column are in none of them.

    Attributes:
        numeric: numbers (booleans count), without the points of a series or the pixels of an image.
        categorical: strings that are labels.
        text: free text.
        date: dates or times, as strings or as such.
        code: strings in a notation, such as formulas or SMILES.
        numeric_text: numbers written as strings.
        points: the columns of a series, in time order.
        pixels: the columns of an image, row by row.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    numeric_text: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    pixels: tuple[str, ...] = ()

    @property
    def wide(self) -> tuple[str, ...]:
        """The columns of the series or of the image, whichever the task has."""
        return self.points or self.pixels


def as_dates(values: pd.Series) -> pd.Series:
    """Parse dates; what cannot be parsed becomes NaT."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz_localize(None) if values.dt.tz is not None else values
    text = values.astype("string")
    parsed = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
    if parsed.isna().mean() > text.isna().mean() + 0.5:
        parsed = pd.to_datetime(text, errors="coerce", utc=True, format="mixed")
    return parsed.dt.tz_localize(None)


def string_kind(values: pd.Series) -> str:
    """One of `date`, `numeric_text`, `code`, `text`, `categorical`, from a sample of distinct values."""
    distinct = pd.unique(values.dropna().iloc[: 8 * _SAMPLE].astype(str))[:_SAMPLE]
    if len(distinct) == 0:
        return "categorical"
    sample = [str(v) for v in distinct]
    share = 1.0 / len(sample)
    if sum(bool(_DATE.match(v)) for v in sample) * share > 0.95:
        return "date"
    numbers = pd.to_numeric(pd.Series(sample), errors="coerce")
    if float(numbers.notna().mean()) > 0.9:
        return "numeric_text"
    unique = len(sample) / max(1, min(len(values), 8 * _SAMPLE))
    many = unique > 0.3 or len(sample) >= _SAMPLE
    if many:
        if sum(bool(_FORMULA.match(v)) for v in sample) * share > 0.8:
            return "code"
        coded = sum(bool(_CODE.match(v)) and bool(re.search(r"[0-9()=#\[\]]", v)) for v in sample) * share
        if coded > 0.6 and sum(map(len, sample)) * share > 6:
            return "code"
        if sum(len(v.split()) for v in sample) * share >= 3:
            return "text"
    return "categorical"


def columns_of(spec: TaskSpec, train: pd.DataFrame) -> Columns:
    """Sort the feature columns of a training frame by kind."""
    skip = {spec.id_column, spec.target, spec.group}
    names = [c for c in dict.fromkeys(map(str, train.columns)) if c not in skip]
    kinds: dict[str, list[str]] = {}
    points: list[str] = []
    if spec.series_prefix is not None:
        pattern = re.compile(re.escape(spec.series_prefix) + r"\d+$")
        points = sorted((c for c in names if pattern.match(c)), key=lambda c: int(re.findall(r"\d+$", c)[0]))
    pixels: list[str] = []
    if spec.image_shape is not None:
        numeric = [c for c in names if pd.api.types.is_numeric_dtype(column(train, c))]
        size = spec.image_shape[0] * spec.image_shape[1]
        pixels = numeric[-size:] if len(numeric) >= size else []
    wide = {*points, *pixels}
    for name in names:
        if name in wide:
            continue
        kinds.setdefault(_kind(spec, name, column(train, name)), []).append(name)
    return Columns(
        points=tuple(points), pixels=tuple(pixels), **{kind: tuple(found) for kind, found in kinds.items()}
    )


def _kind(spec: TaskSpec, name: str, values: pd.Series) -> str:
    if name in spec.text_columns:
        return "code" if string_kind(values) == "code" else "text"
    if pd.api.types.is_datetime64_any_dtype(values):
        return "date"
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return "numeric"
    return string_kind(values)


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """One column, also where the name is not unique."""
    found: Any = frame[name]
    return found.iloc[:, 0] if isinstance(found, pd.DataFrame) else found


def as_floats(values: pd.Series) -> FloatArray:
    """Floats; what is no number, or too large for a float, becomes NaN."""
    try:
        found = pd.to_numeric(values, errors="coerce")
    except (
        OverflowError,
        TypeError,
        ValueError,
    ):  # a Python integer beyond the range of floats, or an object
        found = pd.to_numeric(values.astype("string").fillna(""), errors="coerce")
    return np.array(found.to_numpy(float, na_value=np.nan), float)  # a copy: pandas hands out read-only views


def numbers(frame: pd.DataFrame, names: tuple[str, ...]) -> FloatArray:
    """Columns as a float matrix (rows × columns); what is not a finite number becomes NaN."""
    if not names:
        return np.empty((len(frame), 0))
    parts = [as_floats(column(frame, n)) for n in names]
    matrix = np.column_stack(parts) if len(parts) < 60 else np.stack(parts, axis=1)
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def is_cycle(values: FloatArray) -> bool:
    """Whether whole numbers span exactly a clock or calendar cycle (hours, weekdays, months …)."""
    clean = values[np.isfinite(values)]
    if len(clean) < 50 or not np.all(clean == np.round(clean)):
        return False
    low, high = int(clean.min()), int(clean.max())
    return (low, high) in _CYCLES and len(np.unique(clean)) >= 0.9 * (high - low + 1)


def geo_pair(frame: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, str] | None:
    """Two columns that look like latitude and longitude, by name and range."""
    found: dict[str, str] = {}
    for name in names:
        lowered = name.lower().strip("_ ")
        for word, bound in (("lat", 90.0), ("lon", 180.0), ("lng", 180.0)):
            if re.fullmatch(rf"(.*[_\W])?{word}(itude|gitude|g)?([_\W].*)?", lowered):
                values = numbers(frame, (name,))[:, 0]
                values = values[np.isfinite(values)]
                if len(values) and float(np.abs(values).max()) <= bound:
                    found.setdefault("lat" if word == "lat" else "lon", name)
    return (found["lat"], found["lon"]) if len(found) == 2 else None


def codes(values: pd.Series, *, least: int = 5) -> tuple[NDArray[np.int64], list[str]]:
    """Level codes of a column; levels with fewer than `least` rows share one code, named `other`."""
    filled = values.astype("string").fillna("missing")
    raw, levels = pd.factorize(filled, sort=True)
    counts = np.bincount(raw, minlength=len(levels))
    keep = counts >= least
    if keep.all():
        return raw.astype(np.int64), [str(v) for v in levels]
    mapping = np.where(keep, np.cumsum(keep) - 1, int(keep.sum()))
    names = [str(v) for v, k in zip(levels, keep, strict=True) if k]
    return mapping[raw].astype(np.int64), [*names, "other"]
