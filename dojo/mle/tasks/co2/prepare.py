"""Monthly means of the weekly record."""

from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv` with `month` and `co2`."""
    frame = pd.read_csv(raw / "co2.csv")
    month = pd.to_datetime(frame["date"].astype(str), format="%Y%m%d").dt.strftime("%Y-%m-01")
    monthly = frame["co2"].groupby(month.rename("month")).mean().dropna().round(3)
    monthly.reset_index().to_csv(out / "data.csv", index=False)
