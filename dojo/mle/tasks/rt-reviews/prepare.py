"""Reviews of a sample of films, without the plot summaries."""

from pathlib import Path

import pandas as pd

SHARE_OF_FILMS = 0.6


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv` with `movie`, `text` and `verdict`."""
    frame = pd.read_csv(raw / "rotten_tomatoes_corpus_full.csv.bz2")
    frame = frame[frame["category"].isin(["fresh", "rotten"])]
    frame = frame.rename(columns={"movie_name": "movie", "category": "verdict"})[["movie", "text", "verdict"]]
    frame["text"] = frame["text"].str.strip()
    frame = frame[frame["text"] != ""].drop_duplicates("text")
    films = pd.Series(sorted(frame["movie"].unique())).sample(frac=SHARE_OF_FILMS, random_state=0)
    frame[frame["movie"].isin(films)].to_csv(out / "data.csv", index=False)
