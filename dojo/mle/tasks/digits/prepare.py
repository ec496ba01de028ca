"""Digit images as one row of cells each."""

from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv` with `p0` … `p63` and `digit`."""
    frame = pd.read_csv(raw / "digits.csv.gz", header=None).astype(int)
    frame.columns = pd.Index([f"p{i}" for i in range(64)] + ["digit"])
    frame.to_csv(out / "data.csv", index=False)
