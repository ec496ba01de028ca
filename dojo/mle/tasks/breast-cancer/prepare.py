"""The measurements under their names."""

from pathlib import Path

import pandas as pd

MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave_points",
    "symmetry",
    "fractal_dimension",
)


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv`; the first line of the source holds counts and the class names."""
    frame = pd.read_csv(raw / "breast_cancer.csv", skiprows=1, header=None)
    names = [f"{measure}_{kind}" for kind in ("mean", "error", "worst") for measure in MEASURES]
    frame.columns = pd.Index([*names, "diagnosis"])
    frame["diagnosis"] = frame["diagnosis"].map({0: "malignant", 1: "benign"})
    frame.to_csv(out / "data.csv", index=False)
