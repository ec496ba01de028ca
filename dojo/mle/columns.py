"""What the columns of a user's table hold: numbers, dates, categories, free text, series or pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from dojo.mle import tables

Kind = Literal["number", "boolean", "date", "category", "text", "amount"]
_DATE = re.compile(
    r"\d{4}-\d{1,2}(-\d{1,2})?([T ].*)?$|\d{4}/\d{1,2}/\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}([ T].*)?$"
)
_AMOUNT = re.compile(r"[+-]?\s*(?:[$€£¥]\s*)?[+-]?\d{1,3}(?:,?\d{3})*(?:\.\d+)?\s*(?:[$€£¥%]|USD|EUR|GBP)?$")
_SERIES_PREFIXES = ("t", "t_", "time", "time_", "step", "step_")
_PIXEL_PREFIXES = ("p", "pixel", "px", "pix", "p_", "pixel_", "px_")
_MIN_SERIES = 24
_SAMPLE = 2000


@dataclass(frozen=True)
class Shape:
    """A block of numbered columns that holds one series or one image per row."""

    modality: Literal["series", "image"]
    prefix: str
    length: int
    image_shape: tuple[int, int] | None = None


def column_kind(column: pd.Series) -> Kind:
    """What a column holds, judged by up to 2,000 of its present cells."""
    if pd.api.types.is_bool_dtype(column.dtype):
        return "boolean"
    if pd.api.types.is_numeric_dtype(column.dtype):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "date"
    cells = column[~tables.is_missing(column)].astype(str).str.strip()
    sample = cells if len(cells) <= _SAMPLE else cells.sample(_SAMPLE, random_state=0)
    if np.isfinite(tables.numbers(sample)).all():
        return "number"
    if sample.str.lower().isin(["true", "false"]).all():
        return "boolean"
    if sample.str.match(_DATE).all():
        return "date"
    if is_amount(sample):
        return "amount"
    words = sample.str.count(r"\s+") + 1
    if words.mean() >= 4 and sample.nunique() > 0.5 * len(sample):
        return "text"
    return "category"


def is_amount(cells: pd.Series) -> bool:
    """Whether all cells are numbers with a currency, a percent sign or thousands separators."""
    return bool(len(cells) and cells.str.fullmatch(_AMOUNT.pattern).all())


def amount_text(cells: pd.Series) -> pd.Series:
    """`$ 1,200.50` as `1200.50`; a percent sign is dropped, the number stays as it is."""
    return cells.astype(str).str.replace(r"[\s$€£¥%,]|USD|EUR|GBP", "", regex=True)


def find_shape(frame: pd.DataFrame) -> Shape | None:
    """A block of numbered numeric columns that makes up most of the table, if its name says what it is."""
    blocks: dict[str, set[int]] = {}
    for name in frame.columns:
        match = re.fullmatch(r"(.*?)(\d+)", str(name))
        if match:
            blocks.setdefault(match.group(1), set()).add(int(match.group(2)))
    for prefix, numbers in blocks.items():
        length = len(numbers)
        if length < _MIN_SERIES or numbers != set(range(length)) or length < 0.8 * frame.shape[1]:
            continue
        if not all(column_kind(frame[f"{prefix}{i}"].head(200)) == "number" for i in range(length)):
            continue
        side = round(length**0.5)
        if prefix.lower() in _PIXEL_PREFIXES and side * side == length:
            return Shape("image", prefix, length, (side, side))
        if prefix.lower() in _SERIES_PREFIXES:
            return Shape("series", prefix, length)
    return None
