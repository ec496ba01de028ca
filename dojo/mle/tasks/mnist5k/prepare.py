"""Digit images as one row of pixels each."""

from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.parquet` with `p0` … `p783` and `digit`."""
    frame = pd.read_csv(raw / "mnist_5k.csv.gz", header=None)
    frame.columns = pd.Index([f"p{i}" for i in range(784)] + ["digit"])
    frame.astype("uint8").to_parquet(out / "data.parquet", index=False)
