"""The archive's training and test files as tables of one series per row."""

from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `train.parquet` and `test.parquet`."""
    read_series(raw / "OSULeaf_TRAIN.ts").to_parquet(out / "train.parquet", index=False)
    read_series(raw / "OSULeaf_TEST.ts").to_parquet(out / "test.parquet", index=False)


def read_series(path: Path) -> pd.DataFrame:
    """Read a univariate `.ts` file: after `@data`, comma-separated values, a colon, the label."""
    body = path.read_text(encoding="utf-8").split("@data", 1)[1]
    rows = [line.rsplit(":", 1) for line in body.splitlines() if line.strip()]
    frame = pd.DataFrame([[float(v) for v in values.split(",")] for values, _ in rows], dtype="float64")
    frame.columns = pd.Index([f"t{i}" for i in frame.columns])
    frame["species"] = [int(float(label)) for _, label in rows]
    return frame
