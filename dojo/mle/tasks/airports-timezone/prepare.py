"""Airports of the larger time zones, by position only."""

from pathlib import Path

import pandas as pd

AT_LEAST = 100
AT_MOST = 200


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv` with `lat`, `lon`, `elevation` and `tz`."""
    frame = pd.read_csv(raw / "airports.csv", keep_default_na=False)
    counts = frame["tz"].value_counts()
    frame = frame[frame["tz"].isin(counts.index[counts >= AT_LEAST])]
    frame = frame.sample(frac=1.0, random_state=0).groupby("tz", sort=True).head(AT_MOST)
    frame[["lat", "lon", "elevation", "tz"]].to_csv(out / "data.csv", index=False)
