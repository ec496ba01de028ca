"""Small tables and task packages for tests, made from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def houses(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    """A plain regression table."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(30, 200, rows).round(1)
    street = rng.choice([f"street {i}" for i in range(12)], rows)
    return pd.DataFrame(
        {
            "Id": rng.permutation(rows) + 1000,
            "size": size,
            "street": street,
            "sold": pd.date_range("2020-01-03", periods=rows, freq="9D").strftime("%Y-%m-%d"),
            "heated": rng.choice(["yes", "no"], rows),
            "price": (size * 3000 + rng.normal(0, 9000, rows)).round(2),
        }
    )


def write_package(root: Path, frame: pd.DataFrame, toml: str, name: str = "data.csv") -> Path:
    """A package of one data file; `toml` is the whole of `task.toml`."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / name
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False)
    (root / "task.toml").write_text(toml, encoding="utf-8")
    (root / "description.md").write_text("Predict.\n", encoding="utf-8")
    return root


def toml(**fields: object) -> str:
    """A `task.toml` for `houses`, with fields replaced, added, or removed (None)."""
    body: dict[str, object] = {
        "id": "houses",
        "problem": "regression",
        "metric": "rmse",
        "target": "price",
        "id_column": "Id",
        "split": "random",
        "data": {"data": "data.csv"},
    }
    body.update(fields)
    import tomli_w

    return tomli_w.dumps({k: v for k, v in body.items() if v is not None})
