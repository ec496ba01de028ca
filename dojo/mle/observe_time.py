"""Facts about a series to be carried into the future: season, trend, growth."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dojo.mle.observe_columns import FloatArray, Notes, column
from dojo.mle.observe_probe import correlation
from dojo.mle.observe_sample import time_ranks
from dojo.task import TaskSpec

_PERIODS = (4, 7, 12, 24, 48, 52, 96, 144, 168, 288, 336, 365)


def series_in_order(spec: TaskSpec, train: pd.DataFrame, target: FloatArray) -> FloatArray:
    """The target in time order; of a panel, its longest series."""
    values, frame = target, train
    if spec.group is not None and spec.group in train.columns:
        group = column(train, spec.group).astype("string").fillna("")
        mask = (group == group.mode().iloc[0]).to_numpy(bool)
        values, frame = target[mask], train.loc[mask]
    if spec.time is not None and spec.time in train.columns:
        values = values[np.argsort(time_ranks(column(frame, spec.time)), kind="stable")]
    return values[np.isfinite(values)]


def forecast_facts(notes: Notes, spec: TaskSpec, train: pd.DataFrame, target: FloatArray) -> None:
    """Length, trend, curvature, season with its strength, and whether the season grows with the level."""
    values = np.clip(series_in_order(spec, train, target)[-5000:], -1e100, 1e100)
    n = len(values)
    notes.add("forecast_length", n, f"the series has {n} known points")
    if n < 12 or values.std() <= 0:
        return
    time = np.linspace(-1, 1, n)
    line = np.polyval(np.polyfit(time, values, 1), time)
    curve = np.polyval(np.polyfit(time, values, 2), time)
    total = float(values.var())
    straight = 1.0 - float((values - line).var()) / total
    notes.add("trend_strength", straight, f"a straight line explains {straight:.1%} of the series")
    left = float((values - line).var())
    bend = 1.0 - float((values - curve).var()) / left if left > 1e-12 * total else 0.0
    notes.add("trend_curvature", bend, f"a curve explains {bend:.1%} of what a straight line leaves")
    detrended = values - curve
    period, strength = season(detrended)
    notes.add(
        "season_length", period, f"the strongest season has {period} points" if period else "no season found"
    )
    notes.add(
        "season_strength",
        strength,
        f"a season of {period} points explains {strength:.1%} of the series without its trend",
    )
    lag = correlation(detrended[1:], detrended[:-1])
    notes.add("series_persistence", lag, f"neighbouring points, trend removed, correlate {lag:.2f}")
    if period and n >= 4 * period:
        blocks = values[n % period :].reshape(-1, period)
        growth = correlation(blocks.mean(axis=1), blocks.std(axis=1))
        notes.add("season_growth", growth, f"the season's swing correlates {growth:.2f} with the level")
    recent = n // 4
    late = np.polyfit(time[-recent:], values[-recent:], 1)[0] if recent >= 4 else 0.0
    early = np.polyfit(time, values, 1)[0]
    change = float((late - early) / max(1e-12, abs(late) + abs(early)))
    notes.add(
        "trend_change",
        change,
        f"the recent slope differs from the overall slope by {change:+.2f} of their sum",
    )


def season(values: FloatArray) -> tuple[int, float]:
    """Period whose seasonal means explain the largest share of variance, adjusted for their number."""
    n = len(values)
    best, where = 0.05, 0
    centred = values - values.mean()
    total = float((centred**2).sum())
    if total <= 0:
        return 0, 0.0
    for period in _PERIODS:
        if n < 3 * period:
            continue
        code = np.arange(n) % period
        sums = np.bincount(code, centred, minlength=period)
        between = float((sums**2 / np.bincount(code, minlength=period)).sum()) / total
        share = 1.0 - (1.0 - between) * (n - 1) / max(1, n - period)
        if share > best * 1.02:
            best, where = share, period
    return where, best if where else 0.0
