"""Facts about the training data: shape, gaps, labels, numbers, texts, dates, series, images."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from dojo.mle.observe_columns import (
    Columns,
    FloatArray,
    Notes,
    as_dates,
    codes,
    column,
    geo_pair,
    is_cycle,
    numbers,
)
from dojo.mle.observe_probe import correlation, group_share, kurtosis, skewness
from dojo.task import TaskSpec


def shape_facts(notes: Notes, spec: TaskSpec, train: pd.DataFrame, columns: Columns) -> None:
    """Rows, columns by kind, rows per feature, duplicates."""
    rows = len(train)
    kinds = {
        "numeric": columns.numeric,
        "categorical": columns.categorical,
        "text": columns.text,
        "date": columns.date,
        "code": columns.code,
        "numeric_text": columns.numeric_text,
    }
    features = sum(map(len, kinds.values())) + len(columns.wide)
    notes.add("rows", rows, f"{rows} training rows")
    notes.add("features", features, f"{features} feature columns")
    notes.add("rows_per_feature", rows / max(1, features), f"{rows / max(1, features):.3g} rows per feature")
    for kind, names in kinds.items():
        words = kind.replace("_", " ")
        listed = f": {', '.join(names[:4])}" + (" …" if len(names) > 4 else "") if names else ""
        notes.add(f"{kind}_columns", len(names), f"{len(names)} {words} columns{listed}")
    used = [c for c in train.columns if c not in (spec.id_column, spec.target) and c not in columns.wide]
    if used and rows <= 50_000:
        share = float(train[used].astype("string").duplicated().mean()) if rows <= 3000 else 0.0
        notes.add("duplicate_share", share, f"{share:.1%} of the rows repeat the features of an earlier row")


def missing_facts(notes: Notes, train: pd.DataFrame, columns: Columns, target: FloatArray) -> None:
    """Missing shares and whether being missing tells something about the target."""
    names = (*columns.numeric, *columns.categorical, *columns.text, *columns.date, *columns.numeric_text)
    if not names:
        return
    gaps = np.column_stack([column(train, n).isna().to_numpy(bool) for n in names])
    share = gaps.mean(axis=0)
    top = int(np.argmax(share))
    count = int((share > 0.01).sum())
    notes.add(
        "missing_max", share[top], f"{share[top]:.1%} of {names[top]} is missing, the most of any column"
    )
    notes.add("missing_mean", share.mean(), f"{share.mean():.1%} of all feature cells are missing")
    notes.add("missing_columns", count, f"{count} columns have more than 1% missing")
    gappy = [j for j in range(len(names)) if 0.01 < share[j] < 0.99][:40]
    if gappy:
        told = [abs(correlation(gaps[:, j].astype(float), target)) for j in gappy]
        best = int(np.argmax(told))
        text = f"whether {names[gappy[best]]} is missing correlates {told[best]:.2f} with the target"
        notes.add("missing_informative", told[best], text)


def number_facts(notes: Notes, train: pd.DataFrame, columns: Columns) -> None:
    """Skew, outliers, constants, cycles, correlations of the numeric columns; places on a map."""
    names = columns.numeric[:200]
    if not names:
        return
    block = numbers(train, names)
    filled = np.where(np.isnan(block), np.nan_to_num(_median(block)), block)
    filled = np.clip(filled, -1e100, 1e100)
    low, q25, q75, high = np.quantile(filled, [0.0, 0.25, 0.75, 1.0], axis=0)
    constant = low == high
    notes.add("constant_columns", int(constant.sum()), f"{int(constant.sum())} numeric columns are constant")
    counts = np.array([len(np.unique(filled[:5000, j])) for j in range(len(names))])
    skew = np.array([skewness(filled[:, j]) if counts[j] > 10 else 0.0 for j in range(len(names))])
    top = int(np.argmax(np.abs(skew)))
    heavy = int((np.abs(skew) > 2).sum())
    notes.add(
        "skew_max", abs(skew[top]), f"{names[top]} is skewed by {skew[top]:.2f}, the most of any column"
    )
    notes.add("skewed_columns", heavy, f"{heavy} numeric columns have a skew above 2")
    spread = np.maximum(q75 - q25, 1e-12 * (1 + np.abs(q75)))
    outside = ((filled < q25 - 5 * spread) | (filled > q75 + 5 * spread)) & (counts > 10) & (q75 > q25)
    share = outside.mean(axis=0)
    far = int(np.argmax(share))
    text = f"{share[far]:.2%} of {names[far]} lies more than 5 quartile ranges out"
    notes.add("outlier_max", share[far], text)
    few = [n for n, k, x in zip(names, counts, filled.T, strict=True) if 2 < k <= 30 and _whole(x)]
    text = f"{len(few)} numeric columns hold at most 30 whole numbers" + _listed(few)
    notes.add("level_like_columns", len(few), text)
    cycles = [n for n, x in zip(names, filled.T, strict=True) if is_cycle(x)]
    notes.add(
        "cyclic_columns",
        len(cycles),
        f"{len(cycles)} columns run through a clock or calendar cycle{_listed(cycles)}",
    )
    ids = [
        n
        for n, k, x in zip(names, counts, filled.T, strict=True)
        if k == min(len(x), 5000) > 50 and _whole(x)
    ]
    notes.add(
        "id_like_columns", len(ids), f"{len(ids)} numeric columns look like running numbers{_listed(ids)}"
    )
    if ids:
        notes.add("id_like_column", ids[0], f"{ids[0]} looks like a running number")
    live = filled[:3000][:, ~constant]
    if 2 <= live.shape[1] <= 200:
        with np.errstate(invalid="ignore", divide="ignore"):
            matrix = np.nan_to_num(np.abs(np.corrcoef(live, rowvar=False)))
        pairs = int((np.triu(matrix, 1) > 0.95).sum())
        notes.add("correlated_pairs", pairs, f"{pairs} pairs of numeric columns correlate above 0.95")
    positive = int(((low > 0) & (high > 20 * np.maximum(q25, 1e-12))).sum())
    notes.add(
        "ratio_scale_columns", positive, f"{positive} columns are positive and span more than a factor of 20"
    )
    pair = geo_pair(train, names)
    where = f"{pair[0]} and {pair[1]} look like a place on the globe" if pair else "no pair of coordinates"
    notes.add("geo_pairs", 1.0 if pair else 0.0, where)


def label_facts(notes: Notes, train: pd.DataFrame, columns: Columns, target: FloatArray) -> None:
    """Cardinality, rare levels, and how much the labels say about the target."""
    if not columns.categorical:
        return
    rows = len(train)
    levels: list[int] = []
    rare: list[float] = []
    told: list[float] = []
    for name in columns.categorical[:60]:
        values = column(train, name)
        counts = values.value_counts(dropna=True)
        levels.append(len(counts))
        rare.append(float(counts[counts < 10].sum()) / max(1, rows))
        code, _ = codes(values.iloc[:4000])
        told.append(group_share(code, target[:4000, None]))
    most, least, best = int(np.argmax(levels)), int(np.argmax(rare)), int(np.argmax(told))
    names = columns.categorical
    notes.add(
        "cardinality_max", levels[most], f"{names[most]} has {levels[most]} levels, the most of any column"
    )
    many = sum(k > 20 for k in levels)
    notes.add("high_cardinality_columns", many, f"{many} categorical columns have more than 20 levels")
    notes.add(
        "rare_share_max",
        rare[least],
        f"{rare[least]:.1%} of the rows have a level of {names[least]} seen under 10 times",
    )
    notes.add(
        "label_target_share",
        told[best],
        f"{names[best]} alone explains {told[best]:.1%} of the target's variance",
    )
    dummies = sum(min(k, 50) for k in levels)
    notes.add("one_hot_width", dummies, f"one-hot coding would add about {dummies} columns")


def text_facts(notes: Notes, train: pd.DataFrame, columns: Columns) -> None:
    """Lengths, vocabulary, script and style of the texts; shape of coded strings."""
    for kind, names in (("text", columns.text), ("code", columns.code)):
        if not names:
            continue
        sample = column(train, names[0]).iloc[:1500].astype("string").fillna("").astype(str).tolist()
        lengths = np.array([len(t) for t in sample], float)
        notes.add(
            f"{kind}_chars", lengths.mean(), f"{names[0]} has {lengths.mean():.0f} characters on average"
        )
        if kind == "code":
            ring = sum(bool(re.search(r"[()=#\[\]]", t)) for t in sample) / max(1, len(sample))
            notes.add("code_brackets", ring, f"{ring:.0%} of the coded strings hold brackets or bond signs")
            formula = sum(bool(re.fullmatch(r"([A-Z][a-z]?\d*)+", t)) for t in sample) / max(1, len(sample))
            notes.add("code_formula", formula, f"{formula:.0%} of the coded strings read as element counts")
            continue
        words = [t.split() for t in sample]
        count = np.array([len(w) for w in words], float)
        notes.add("text_words", count.mean(), f"texts have {count.mean():.0f} words on average")
        spread = float(count.std() / max(1.0, count.mean()))
        notes.add("text_length_spread", spread, f"the number of words varies by {spread:.0%} of its mean")
        flat = [w.lower() for ws in words for w in ws]
        once = len(set(flat)) / max(1, len(flat))
        notes.add("text_vocabulary", once, f"{once:.1%} of the words of a sample are distinct")
        joined = "".join(sample[:400])
        foreign = sum(ord(c) > 127 for c in joined) / max(1, len(joined))
        notes.add("text_non_ascii", foreign, f"{foreign:.1%} of the characters are not ASCII")
        shout = sum(w.isupper() and len(w) > 1 for ws in words for w in ws) / max(1, len(flat))
        signs = sum(bool(re.search(r"[!?]{1,}|[:;=]-?[)(DPp/]", t)) for t in sample) / max(1, len(sample))
        notes.add("text_upper_share", shout, f"{shout:.1%} of the words are in capitals")
        notes.add("text_sign_share", signs, f"{signs:.0%} of the texts hold ! or ? or an emoticon")


def date_facts(notes: Notes, train: pd.DataFrame, columns: Columns) -> None:
    """Span of the first date column and whether it has times of day."""
    if not columns.date:
        return
    dates = as_dates(column(train, columns.date[0]).iloc[:5000]).dropna()
    if len(dates) < 2:
        return
    days = float((dates.max() - dates.min()).total_seconds()) / 86_400.0
    notes.add("date_span_days", days, f"{columns.date[0]} spans {days:.0f} days")
    clock = float((dates.dt.hour != 0).mean())
    notes.add("date_has_hours", clock, f"{clock:.0%} of the dates carry a time of day")


def wide_facts(notes: Notes, spec: TaskSpec, train: pd.DataFrame, columns: Columns) -> None:
    """Length, level and roughness of series in rows; size, ink and drift of images."""
    if columns.points:
        block = numbers(train.iloc[:400], columns.points)
        filled = np.where(np.isnan(block), 0.0, block)
        length = filled.shape[1]
        notes.add("series_length", length, f"each series has {length} points")
        per = len(train) / max(1, len(spec.classes))
        notes.add("series_per_class", per, f"{per:.0f} series per class")
        level = float(filled.mean(axis=1).std() / max(1e-12, filled.std()))
        notes.add(
            "series_level_spread", level, f"the level differs between series by {level:.2f} of the spread"
        )
        scale = filled.std(axis=1)
        uneven = float(scale.std() / max(1e-12, scale.mean()))
        notes.add("series_scale_spread", uneven, f"the scale differs between series by {uneven:.0%}")
        centred = filled - filled.mean(axis=1, keepdims=True)
        lag = correlation(centred[:, 1:].ravel(), centred[:, :-1].ravel())
        notes.add("series_autocorrelation", lag, f"neighbouring points correlate {lag:.2f}")
    if columns.pixels and spec.image_shape is not None:
        height, width = spec.image_shape
        block = np.nan_to_num(numbers(train.iloc[:400], columns.pixels)).reshape(-1, height, width)
        notes.add("image_pixels", height * width, f"images of {height} × {width} pixels")
        top = float(block.max())
        notes.add("image_range", top, f"the brightest pixel has the value {top:.4g}")
        ink = np.abs(block - np.median(block))
        filled_share = float((ink > 0.1 * max(1e-12, float(ink.max()))).mean())
        notes.add("image_fill", filled_share, f"{filled_share:.0%} of the pixels differ from the background")
        mass = np.maximum(ink.sum(axis=(1, 2)), 1e-12)
        rows = (ink.sum(axis=2) * np.arange(height)).sum(axis=1) / mass / height
        cols = (ink.sum(axis=1) * np.arange(width)).sum(axis=1) / mass / width
        drift = float(np.hypot(rows.std(), cols.std()))
        notes.add("image_drift", drift, f"the centre of what is drawn moves by {drift:.1%} of the size")


def target_facts(notes: Notes, spec: TaskSpec, target: FloatArray) -> None:
    """Shape of a numeric target, or balance of the classes."""
    if spec.problem in ("binary", "multiclass"):
        count = np.bincount(target[target >= 0].astype(int), minlength=max(2, len(spec.classes)))
        share = count / max(1, count.sum())
        notes.add("classes", len(share), f"{len(share)} classes")
        notes.add(
            "majority_share", share.max(), f"{share.max():.1%} of the rows are of the most common class"
        )
        notes.add("minority_share", share.min(), f"{share.min():.2%} of the rows are of the rarest class")
        least = int(count.min())
        notes.add("rarest_count", least, f"the rarest class has {least} rows")
        return
    values = np.clip(target[np.isfinite(target)], -1e100, 1e100)
    if len(values) < 3:
        return
    notes.add("target_skew", skewness(values), f"the target is skewed by {skewness(values):.2f}")
    notes.add("target_kurtosis", kurtosis(values), f"the target's excess kurtosis is {kurtosis(values):.2f}")
    low, q25, mid, q75, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    notes.add("target_min", low, f"the smallest target is {low:.4g}")
    notes.add(
        "target_zero_share",
        float((values == 0).mean()),
        f"{(values == 0).mean():.1%} of the targets are zero",
    )
    notes.add(
        "target_integer",
        float(_whole(values)),
        "the targets are whole numbers" if _whole(values) else "the targets are not whole numbers",
    )
    if low >= 0 and high > 0:
        logged = skewness(np.log1p(values))
        notes.add("target_log_skew", logged, f"the logarithm of the target is skewed by {logged:.2f}")
        positive = values[values > 0]
        ratio = float(np.quantile(positive, 0.99) / max(1e-12, np.quantile(positive, 0.05)))
        notes.add(
            "target_ratio", min(ratio, 1e12), f"the target's 99th percentile is {ratio:.3g} times its 5th"
        )
    far = (
        float(((values < q25 - 5 * (q75 - q25)) | (values > q75 + 5 * (q75 - q25))).mean())
        if q75 > q25
        else 0.0
    )
    notes.add("target_outlier_share", far, f"{far:.2%} of the targets lie more than 5 quartile ranges out")
    repeated = 1.0 - len(np.unique(values)) / len(values)
    notes.add(
        "target_repeated_share",
        repeated,
        f"{repeated:.0%} of the targets repeat an earlier value (median {mid:.4g})",
    )
    if len(values) > 30:
        lag = correlation(values[1:], values[:-1])
        notes.add("target_row_autocorrelation", lag, f"targets of neighbouring rows correlate {lag:.2f}")


def _median(block: FloatArray) -> FloatArray:
    out = np.zeros(block.shape[1])
    whole = ~np.isnan(block).all(axis=0)
    if whole.any():
        out[whole] = np.nanmedian(block[:, whole], axis=0)
    return out


def _whole(values: FloatArray) -> bool:
    return bool(np.all(values == np.round(values)))


def _listed(names: list[str]) -> str:
    return f": {', '.join(names[:4])}" + (" …" if len(names) > 4 else "") if names else ""
