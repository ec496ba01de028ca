"""Time axes, seasons and forecasting methods. A series has one value at each whole step of its axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from gome.mle.playbook.snippets.data import as_dates, as_numbers, role_of
from gome.mle.playbook.snippets.fitting import Folds


def time_steps(times: pd.Series, known: pd.Series) -> pd.Series:
    """Position of each time on the grid of the known ones; months, quarters and years are equal steps."""
    if role_of(known) == "num":
        values, base = as_numbers(times), as_numbers(known)
    else:
        day_first = role_of(known) == "day_first"
        dates, known_dates = as_dates(times, day_first=day_first), as_dates(known, day_first=day_first)
        gap = known_dates.drop_duplicates().sort_values().diff().median() / pd.Timedelta(days=1)
        months = next(
            (m for m, low, high in ((1, 28, 31), (3, 89, 92), (12, 365, 366)) if low <= gap <= high), 0
        )
        if months:
            values, base = ((d.dt.year * 12 + d.dt.month - 1) // months for d in (dates, known_dates))
        else:
            values, base = ((d - known_dates.min()) / pd.Timedelta(days=1) for d in (dates, known_dates))
    gap = base.drop_duplicates().sort_values().diff().median()
    steps = ((values - base.min()) / (gap if gap > 0 else 1.0)).round()
    return steps.fillna(steps.max()).fillna(0.0).astype("float64")


def forecast_folds(steps: pd.Series, new_steps: pd.Series, folds: int) -> Folds:
    """The last blocks of the known steps, as long as the asked horizon, each predicted from all before it."""
    first, last = steps.min(), steps.max()
    horizon = max(1.0, min(new_steps.max() - last, (last - first) // (folds + 1)))
    result = []
    for k in range(folds, 0, -1):
        start = last - k * horizon
        inner = np.flatnonzero(steps <= start)
        outer = np.flatnonzero((steps > start) & (steps <= start + horizon))
        if len(inner) and len(outer):
            result.append((inner, outer))
    return result


def regular_series(steps: pd.Series, y: np.ndarray) -> np.ndarray:
    """The series at each whole step: doubles are averaged, gaps filled by straight lines."""
    values = pd.Series(y).groupby(steps.to_numpy()).mean()
    grid = np.arange(values.index[0], values.index[-1] + 1)
    return np.interp(grid, values.index.to_numpy(), values.to_numpy())


def infer_season(values: np.ndarray) -> int:
    """The lag at which the changes of a series repeat best: a peak of their autocorrelation; 1 if none."""
    changes = np.diff(values)
    length = len(changes)
    if length < 8 or changes.std() == 0:
        return 1
    scaled = (changes - changes.mean()) / changes.std()
    spectrum = np.abs(np.fft.rfft(scaled, 2 * length)) ** 2
    correlation = np.fft.irfft(spectrum)[: length // 2 + 1] / length
    inner = correlation[1:-1]
    peaks = 1 + np.flatnonzero((inner > correlation[:-2]) & (inner >= correlation[2:]) & (inner > 0.2))
    peaks = peaks[peaks >= 2]
    if not len(peaks):
        return 1
    return int(peaks[correlation[peaks] >= 0.8 * correlation[peaks].max()][0])


def season_of(x: pd.DataFrame, y: np.ndarray) -> int:
    """The season of the longest series."""
    longest = x["axis:series"].value_counts().index[0]
    rows = (x["axis:series"] == longest).to_numpy()
    return infer_season(regular_series(x.loc[rows, "axis:step"], y[rows]))


def last_rows(x: pd.DataFrame, count: int) -> np.ndarray:
    """Marks the rows within the last steps of each series."""
    last = x.groupby("axis:series")["axis:step"].transform("max")
    return (x["axis:step"] > last - count).to_numpy()


def series_by_series(
    x: pd.DataFrame, y: np.ndarray, others: list[pd.DataFrame], method: Any
) -> list[np.ndarray]:
    """Apply `method(values, horizon)` to each series; an unknown series gets the mean of all forecasts."""
    results = [np.full(len(other), np.nan) for other in others]
    for name, part in x.groupby("axis:series"):
        steps = part["axis:step"]
        values = regular_series(steps, y[x.index.get_indexer(part.index)])
        wanted = [((other["axis:series"] == name).to_numpy(), other["axis:step"]) for other in others]
        ahead = [(step[rows] - steps.max()).clip(lower=1).to_numpy(dtype=int) for rows, step in wanted]
        horizon = max([int(a.max()) for a in ahead if len(a)], default=0)
        if horizon:
            forecast = method(values, horizon)
            for result, (rows, _), a in zip(results, wanted, ahead, strict=True):
                result[rows] = forecast[a - 1]
    fallback = np.nanmean(np.concatenate([*results, y]))
    return [np.where(np.isfinite(result), result, fallback) for result in results]


def last_value(values: np.ndarray, horizon: int) -> np.ndarray:
    """The naive forecast."""
    return np.repeat(values[-1], horizon)


def last_season(values: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The seasonal naive forecast: the last season again and again."""
    season = min(season, len(values))
    return values[len(values) - season + np.arange(horizon) % season]


def drift(values: np.ndarray, horizon: int) -> np.ndarray:
    """The line through the first and the last value."""
    slope = (values[-1] - values[0]) / max(len(values) - 1, 1)
    return values[-1] + slope * np.arange(1, horizon + 1)


def holt_winters(
    values: np.ndarray, horizon: int, season: int, *, trend: bool, damped: bool, seasonal: str
) -> np.ndarray:
    """Exponential smoothing of level, trend and season; the weights minimise the one-step squared error.

    Holt (1957), Winters (1960); a damped trend as by Gardner and McKenzie (1985).
    """
    season = season if seasonal != "none" and 1 < season <= len(values) // 2 else 1
    scale = max(float(values.std()), 1e-9)
    multiplicative = seasonal == "multiplicative" and season > 1 and values.min() > 0
    series = values.tolist()
    head = values[: 2 * season]
    slope0 = float(head[season:].mean() - head[:season].mean()) / season if len(head) == 2 * season else 0.0
    level0 = float(head[:season].mean()) - slope0 * (season + 1) / 2
    fitted = level0 + slope0 * np.arange(1, len(head) + 1)
    ratio = head / fitted if multiplicative else head - fitted
    pattern = [float(ratio[i::season].mean()) for i in range(season)] if season > 1 else [0.0]

    def smooth(weights: np.ndarray) -> tuple[float, float, float, list[float]]:
        alpha, beta, gamma, phi = weights.tolist()
        level, slope, factors, error = level0, slope0 if trend else 0.0, list(pattern), 0.0
        for i, value in enumerate(series):
            base, factor = level + phi * slope, factors[i % season]
            expected = base * factor if multiplicative else base + factor
            error += (value - expected) ** 2
            bare = value / (factor or 1.0) if multiplicative else value - factor
            new_level = alpha * bare + (1 - alpha) * base
            if trend:
                slope = beta * (new_level - level) + (1 - beta) * phi * slope
            level = new_level
            if season > 1:
                ratio_now = value / (level or 1.0) if multiplicative else value - level
                factors[i % season] = gamma * ratio_now + (1 - gamma) * factor
        return error / scale**2, level, slope, factors

    starts = [
        np.array([a, b, g, 0.97 if damped else 1.0]) for a, b, g in ((0.3, 0.05, 0.1), (0.7, 0.01, 0.3))
    ]
    bounds = [(1e-3, 0.999), (1e-4, 0.5), (1e-3, 0.9), (0.8, 0.995) if damped else (1.0, 1.0)]
    fits = [minimize(lambda w: smooth(w)[0], start, bounds=bounds, method="L-BFGS-B") for start in starts]
    best = min(fits, key=lambda fit: float(fit.fun)).x
    _, level, slope, factors = smooth(best)
    ahead, damping = np.arange(1, horizon + 1), float(best[3])
    grown = damping * (1 - damping**ahead) / (1 - damping) if damped else ahead.astype(float)
    base = level + slope * grown
    factor = np.array(factors)[(len(series) + ahead - 1) % season]
    forecast = base * factor if multiplicative else base + factor
    return np.nan_to_num(
        forecast, nan=float(values[-1]), posinf=float(values.max()), neginf=float(values.min())
    )


def trend_terms(x: pd.DataFrame, train: pd.DataFrame, degree: int) -> pd.DataFrame:
    """Powers of the time step, scaled to 0–1 over the training rows."""
    low, high = train["axis:step"].min(), train["axis:step"].max()
    turn = (x["axis:step"] - low) / max(high - low, 1.0)
    return pd.DataFrame({f"num:time power {k}": turn**k for k in range(1, degree + 1)}, index=x.index)


def season_waves(x: pd.DataFrame, season: int, harmonics: int) -> pd.DataFrame:
    """Fourier pairs of the season."""
    turn = 2 * np.pi * x["axis:step"] / season
    columns = {}
    for k in range(1, min(harmonics, season // 2) + 1):
        columns[f"num:season sin {k}"] = np.sin(k * turn)
        columns[f"num:season cos {k}"] = np.cos(k * turn)
    return pd.DataFrame(columns, index=x.index)


def season_dummies(x: pd.DataFrame, season: int) -> pd.DataFrame:
    """One 0/1 column for each position in the season but the first."""
    place = x["axis:step"] % season
    return pd.DataFrame(
        {f"num:season at {k}": (place == k).astype(float) for k in range(1, season)}, index=x.index
    )


def anchor_shift(
    x: pd.DataFrame, residuals: np.ndarray, others: list[pd.DataFrame], season: int
) -> list[np.ndarray]:
    """Mean residual of the last season of each series, to be added to its forecasts."""
    recent = last_rows(x, max(season, 1))
    shifts = pd.Series(residuals[recent]).groupby(x.loc[recent, "axis:series"].to_numpy()).mean()
    return [other["axis:series"].map(shifts).fillna(0.0).to_numpy(dtype=float) for other in others]


def lag_terms(history: np.ndarray, lags: int, season: int) -> np.ndarray:
    """The last values, the value one season ago, and means over growing windows, newest value last."""
    padded = np.concatenate([np.repeat(history[0], max(lags, season)), history])
    means = [padded[-width:].mean() for width in sorted({3, min(7, len(padded)), max(season, 2)})]
    return np.array([*padded[: -lags - 1 : -1], padded[-season], *means])


def lag_table(x: pd.DataFrame, y: np.ndarray, lags: int, season: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Lag features of each training row that has a past, and its position among the rows."""
    rows, blocks = [], []
    for _, part in x.groupby("axis:series"):
        order = np.argsort(part["axis:step"].to_numpy(), kind="stable")
        places = x.index.get_indexer(part.index[order])
        values = y[places]
        for i in range(min(lags, len(values) // 2) or 1, len(values)):
            rows.append(places[i])
            blocks.append(lag_terms(values[:i], lags, season))
    table = np.array(blocks)
    columns = [f"num:lag {i}" for i in range(table.shape[1] if len(table) else 0)]
    return pd.DataFrame(table, columns=columns), np.array(rows, dtype=int)


def recursive_forecast(
    x: pd.DataFrame,
    y: np.ndarray,
    future: pd.DataFrame,
    lags: int,
    season: int,
    one_step: Callable[[pd.DataFrame], np.ndarray],
) -> np.ndarray:
    """Forecast step by step, all series at once; a step that is not asked for takes the row before it."""
    histories: dict[str, np.ndarray] = {}
    frames: dict[str, pd.DataFrame] = {}
    for name, part in x.groupby("axis:series"):
        wanted = future[future["axis:series"] == name].drop_duplicates("axis:step").set_index("axis:step")
        histories[str(name)] = regular_series(part["axis:step"], y[x.index.get_indexer(part.index)])
        ahead = np.arange(part["axis:step"].max() + 1, max(wanted.index, default=0) + 1)
        frames[str(name)] = wanted.reindex(ahead).ffill().bfill().infer_objects()
    forecasts: dict[tuple[str, float], float] = {}
    for step in range(max(map(len, frames.values()))):
        names = [name for name in frames if step < len(frames[name])]
        rows = pd.concat([frames[name].iloc[[step]] for name in names])
        terms = np.array([lag_terms(histories[name], lags, season) for name in names])
        table = pd.DataFrame(terms, columns=[f"num:lag {i}" for i in range(terms.shape[1])], index=rows.index)
        for name, value, when in zip(
            names, one_step(pd.concat([rows, table], axis=1)), rows.index, strict=True
        ):
            histories[name] = np.append(histories[name], value)
            forecasts[name, float(when)] = float(value)
    keys = zip(future["axis:series"].astype(str), future["axis:step"], strict=True)
    fallback = float(np.mean(list(forecasts.values()))) if forecasts else float(y.mean())
    return np.array([forecasts.get((name, float(step)), fallback) for name, step in keys])
