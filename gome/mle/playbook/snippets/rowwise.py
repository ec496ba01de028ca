"""Features computed row by row: dates, texts, code strings, places. Nothing is learned here."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd

from gome.mle.playbook.snippets.data import named


def elapsed_days(x: pd.DataFrame) -> pd.DataFrame:
    """Days since 1970 of each date."""
    dates = named(x, "date:")
    return pd.DataFrame(
        {f"num:{c} days": (dates[c] - pd.Timestamp(0)) / pd.Timedelta(days=1) for c in dates}, index=x.index
    )


def date_parts(x: pd.DataFrame, parts: list[str]) -> pd.DataFrame:
    """Calendar and clock parts of each date."""
    dates = named(x, "date:")
    columns = {}
    for c in dates:
        for part in parts:
            values = dates[c].dt.isocalendar()["week"] if part == "week" else getattr(dates[c].dt, part)
            columns[f"num:{c} {part}"] = values.astype("float64")
    return pd.DataFrame(columns, index=x.index)


def cyclic_dates(x: pd.DataFrame) -> pd.DataFrame:
    """Sine and cosine of the time of day, week and year, so that 23 h lies next to 0 h."""
    dates = named(x, "date:")
    columns = {}
    for c in dates:
        when = dates[c].dt
        hour = when.hour + when.minute / 60
        turns = {"day": hour / 24, "week": (when.dayofweek + hour / 24) / 7, "year": when.dayofyear / 365.25}
        for name, turn in turns.items():
            columns[f"num:{c} {name} sin"] = np.sin(2 * np.pi * turn)
            columns[f"num:{c} {name} cos"] = np.cos(2 * np.pi * turn)
    return pd.DataFrame(columns, index=x.index)


def weekends(x: pd.DataFrame) -> pd.DataFrame:
    """Whether each date is a Saturday or a Sunday."""
    dates = named(x, "date:")
    return pd.DataFrame(
        {f"num:{c} weekend": (dates[c].dt.dayofweek >= 5).astype("float64") for c in dates}, index=x.index
    )


def cycle_length(values: pd.Series) -> int:
    """The period of a whole-number column that takes all values of a clock or calendar cycle, else 0."""
    known = values.dropna()
    if known.empty or (known % 1 != 0).any():
        return 0
    low, high = int(known.min()), int(known.max())
    cycles = {
        (0, 23): 24,
        (1, 24): 24,
        (1, 12): 12,
        (0, 11): 12,
        (1, 7): 7,
        (0, 6): 7,
        (0, 59): 60,
        (1, 31): 31,
    }
    period = cycles.get((low, high), 0)
    return period if known.nunique() == period else 0


def cycle_lengths(x: pd.DataFrame) -> dict[str, int]:
    """The columns of whole numbers that run in a cycle, and their periods."""
    numbers = named(x, "num:")
    periods = {str(c).removeprefix("num:"): cycle_length(numbers[c]) for c in numbers}
    return {c: period for c, period in periods.items() if period}


def cyclic_integers(x: pd.DataFrame, periods: dict[str, int]) -> pd.DataFrame:
    """Sine and cosine of the columns that are known to run in a cycle."""
    columns = {}
    for c, period in periods.items():
        columns[f"num:{c} sin"] = np.sin(2 * np.pi * x[f"num:{c}"] / period)
        columns[f"num:{c} cos"] = np.cos(2 * np.pi * x[f"num:{c}"] / period)
    return pd.DataFrame(columns, index=x.index)


def text_statistics(x: pd.DataFrame) -> pd.DataFrame:
    """Lengths of each text, and shares of capitals, digits, punctuation and repeated words."""
    texts = named(x, "text:")
    columns: dict[str, pd.Series] = {}
    for c in texts:
        text = texts[c].astype("string")
        words = text.str.split()
        length = text.str.len().astype("float64")
        count = words.str.len().astype("float64")
        distinct = words.map(lambda w: len(set(w))).astype("float64")
        columns[f"num:{c} characters"] = length
        columns[f"num:{c} words"] = count
        columns[f"num:{c} word length"] = length / count.clip(lower=1)
        columns[f"num:{c} distinct words"] = distinct / count.clip(lower=1)
        for name, pattern in {"capitals": r"[A-Z]", "digits": r"\d", "signs": r"[^\w\s]"}.items():
            columns[f"num:{c} {name}"] = text.str.count(pattern).astype("float64") / length.clip(lower=1)
        for name, sign in {
            "exclamations": "!",
            "questions": r"\?",
            "capital words": r"\b[A-Z]{2,}\b",
        }.items():
            columns[f"num:{c} {name}"] = text.str.count(sign).astype("float64")
    return pd.DataFrame(columns, index=x.index)


def code_statistics(x: pd.DataFrame) -> pd.DataFrame:
    """Length of each code string, number of letters, digits, brackets and signs, and distinct characters."""
    codes = named(x, "code:")
    patterns = {
        "letters": r"[A-Za-z]",
        "lower": r"[a-z]",
        "digits": r"\d",
        "brackets": r"[()\[\]{}]",
        "signs": r"\W",
    }
    columns: dict[str, pd.Series] = {}
    for c in codes:
        text = codes[c].astype("string")
        columns[f"num:{c} length"] = text.str.len().astype("float64")
        columns[f"num:{c} distinct"] = text.map(lambda code: len(set(code))).astype("float64")
        for name, pattern in patterns.items():
            columns[f"num:{c} {name}"] = text.str.count(pattern).astype("float64")
    return pd.DataFrame(columns, index=x.index)


def code_tokens(code: str) -> dict[str, float]:
    """Counts of the tokens of a code string; a number right after one multiplies it: C2H6 has C:2, H:6."""
    counts: Counter[str] = Counter(tokens=0)
    for token, number in re.findall(r"([A-Z][a-z]?|[a-z]|[^\w\s]|_)(\d{0,4})", code):
        counts[token] += int(number) if number and token.isalnum() else 1
        counts["tokens"] += 1
    return {token: float(count) for token, count in counts.items()}


def token_counts(x: pd.DataFrame) -> list[dict[str, float]]:
    """Token counts of each row, over all its code strings."""
    return [code_tokens(" ".join(row)) for row in x.to_numpy()]


def sphere_points(x: pd.DataFrame, places: list[tuple[str, str]]) -> pd.DataFrame:
    """Each (latitude, longitude) in degrees as a point on the unit sphere: no jump at the date line."""
    columns = {}
    for latitude, longitude in places:
        phi, lam = np.radians(x[latitude]), np.radians(x[longitude])
        columns[f"num:{latitude} sphere x"] = np.cos(phi) * np.cos(lam)
        columns[f"num:{latitude} sphere y"] = np.cos(phi) * np.sin(lam)
        columns[f"num:{latitude} sphere z"] = np.sin(phi)
    return pd.DataFrame(columns, index=x.index)


def rotated_places(x: pd.DataFrame, places: list[tuple[str, str]], rotations: int) -> pd.DataFrame:
    """Latitude and longitude turned by several angles, so that trees can cut along other directions."""
    columns = {}
    for latitude, longitude in places:
        for angle in np.pi / 2 * np.arange(1, rotations + 1) / (rotations + 1):
            name = f"num:{latitude} turned {np.degrees(angle):.0f}"
            columns[f"{name} a"] = np.cos(angle) * x[latitude] + np.sin(angle) * x[longitude]
            columns[f"{name} b"] = np.cos(angle) * x[longitude] - np.sin(angle) * x[latitude]
    return pd.DataFrame(columns, index=x.index)


def find_places(x: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of columns that hold latitudes and longitudes in degrees, by name and range."""
    low, high = named(x, "num:").min(), named(x, "num:").max()

    def matching(pattern: str, limit: float) -> list[str]:
        fits = [c for c in low.index if low[c] >= -limit and high[c] <= limit]
        return [c for c in fits if re.search(pattern, c.removeprefix("num:"), re.IGNORECASE)]

    latitudes = matching(r"(?:^|[\W_])lat(?:itude)?(?:$|[\W_\d])", 90)
    longitudes = matching(r"(?:^|[\W_])(?:lon|lng|long|longitude)(?:$|[\W_\d])", 360)
    return list(zip(latitudes, longitudes, strict=False))
