"""The customers, without rows that occur twice."""

from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv`."""
    frame = pd.read_csv(raw / "Caravan.csv", keep_default_na=False)
    features = [name for name in frame.columns if name != "Purchase"]
    # Customers with the very same features would lie in training and test at once.
    frame.drop_duplicates(features).to_csv(out / "data.csv", index=False)
