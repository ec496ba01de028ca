"""Hourly rentals without the two columns that add up to the target."""

from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv`."""
    frame = pd.read_csv(raw / "Bikeshare.csv")
    frame.drop(columns=["casual", "registered"]).to_csv(out / "data.csv", index=False)
