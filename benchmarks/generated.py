"""Three generated tables for the reliability benchmark: `python -m benchmarks.generated DIR`.

They were written after the playbook's rules had been frozen, and their seeds come from a hash of the rules: nobody
could tune a rule to them. Each hides what real tables hide: skew, seasons, many levels, values that are missing
for a reason, interactions, imbalance, words.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 2500
RULES = Path(__file__).parents[1] / "gome" / "mle" / "playbook" / "rules"

FILLER = [
    "the",
    "of",
    "a",
    "sample",
    "seen",
    "in",
    "part",
    "with",
    "some",
    "other",
    "old",
    "new",
    "left",
    "right",
]


def rules_hash() -> str:
    """SHA-256 over the rule base's files, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(RULES.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def generator(name: str) -> np.random.Generator:
    """Random numbers of one table, keyed by the rules' hash."""
    key = hashlib.sha256(f"{rules_hash()}:{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(key[:8], "big"))


def rents() -> pd.DataFrame:
    """Regression: a skewed price with a season, 60 districts, and a size that is missing more often when large."""
    rng = generator("rents")
    day = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 730, ROWS), unit="D")
    district = rng.integers(0, 60, ROWS)
    level = rng.normal(0, 0.35, 60)
    size = rng.lognormal(4.1, 0.45, ROWS)
    rooms = np.clip((size / 28 + rng.normal(0, 0.8, ROWS)).round(), 1, 9)
    age = rng.integers(0, 120, ROWS)
    season = 0.18 * np.sin(2 * np.pi * (day.day_of_year.to_numpy() - 80) / 365)
    price = np.exp(
        2.2 + 0.9 * np.log(size) + level[district] + season - 0.002 * age + rng.normal(0, 0.2, ROWS)
    )
    shown = np.where(rng.random(ROWS) < 0.05 + 0.3 * (size > 90), np.nan, size.round(1))
    return pd.DataFrame(
        {
            "day": day.strftime("%Y-%m-%d"),
            "district": [f"D{d:02d}" for d in district],
            "size": shown,
            "rooms": rooms,
            "built_years_ago": age,
            "noise": rng.normal(size=ROWS).round(3),
            "rent": price.round(2),
        }
    )


def leaving() -> pd.DataFrame:
    """Binary: 9 % leave; an interaction, a ratio that matters, and twelve columns of noise."""
    rng = generator("leaving")
    calls, months = rng.poisson(4, ROWS), rng.integers(1, 72, ROWS)
    paid, used = rng.gamma(4, 12, ROWS), rng.gamma(3, 9, ROWS)
    plan = rng.choice(["basic", "plus", "family", "pro"], ROWS, p=[0.5, 0.25, 0.2, 0.05])
    better_off = (plan == "basic") & (used / paid > 0.9)
    logit = -3.6 + 0.35 * calls * (months < 12) - 0.02 * months + 1.8 * better_off + 1.2 * (plan == "pro")
    left = rng.random(ROWS) < 1 / (1 + np.exp(-logit))
    frame = pd.DataFrame(
        {"calls": calls, "months": months, "paid": paid.round(2), "used": used.round(2), "plan": plan}
    )
    for i in range(12):
        frame[f"meter_{i}"] = rng.normal(size=ROWS).round(3)
    frame.loc[rng.random(ROWS) < 0.1, "used"] = np.nan
    frame["left"] = np.where(left, "yes", "no")
    return frame


def sorts() -> pd.DataFrame:
    """Four classes by distance and direction of a point and by words of a note; 6 % of the labels are wrong."""
    rng = generator("sorts")
    x, y = rng.normal(0, 1.2, ROWS), rng.normal(0, 1.2, ROWS)
    kind = 2 * (np.hypot(x, y) > 1.3).astype(int) + (np.arctan2(y, x) > 0).astype(int)
    words = [["smooth", "pale"], ["rough", "pale"], ["smooth", "dark"], ["rough", "dark"]]
    filler = np.array(FILLER)
    notes = []
    for k in kind:
        picked = list(rng.choice(filler, 6))
        if rng.random() < 0.6:
            picked.insert(int(rng.integers(0, 6)), str(rng.choice(words[k])))
        notes.append(" ".join(picked))
    label = np.where(rng.random(ROWS) < 0.06, rng.integers(0, 4, ROWS), kind)
    return pd.DataFrame(
        {
            "x": (x + rng.normal(0, 0.05, ROWS)).round(4),
            "y": (y + rng.normal(0, 0.05, ROWS)).round(4),
            "weight": rng.gamma(2, 3, ROWS).round(2),
            "note": notes,
            "sort": np.array(["ash", "birch", "cedar", "dogwood"])[label],
        }
    )


TABLES = {
    "rents": (rents, "rent", "rmsle"),
    "leaving": (leaving, "left", "auc"),
    "sorts": (sorts, "sort", "logloss"),
}
"""Name to (function, target, metric)."""


def write(directory: Path) -> list[Path]:
    """Write the tables and their task packages; gives the packages' folders."""
    from dojo.mle.new import new_task

    folders = []
    for name, (make, target, metric) in TABLES.items():
        folder = directory / name
        table = directory / f"{name}.csv"
        directory.mkdir(parents=True, exist_ok=True)
        make().to_csv(table, index=False)
        shutil.rmtree(folder, ignore_errors=True)
        new_task(folder, table, target=target, metric=metric)
        folders.append(folder)
    return folders


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    print(f"rules {rules_hash()[:16]}")
    for folder in write(parser.parse_args().directory):
        print(folder)


if __name__ == "__main__":
    main()
