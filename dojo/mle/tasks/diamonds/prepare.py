"""A random sample of the diamonds."""

from pathlib import Path

import pandas as pd

ROWS = 12_000


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv`."""
    frame = pd.read_csv(raw / "diamonds.csv").drop_duplicates()
    frame.sample(ROWS, random_state=0).to_csv(out / "data.csv", index=False)
