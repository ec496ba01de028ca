"""Tweets with their mean human rating."""

import csv
from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv` with `text` and `valence`."""
    frame = pd.read_csv(
        raw / "tweets_GroundTruth.txt",
        sep="\t",
        names=["id", "valence", "text"],
        quoting=csv.QUOTE_NONE,
        encoding="utf-8",
    )
    frame = frame.drop_duplicates("text")
    frame[["text", "valence"]].to_csv(out / "data.csv", index=False)
