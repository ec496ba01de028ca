"""Boiling points joined with structures on the CAS number."""

import csv
from pathlib import Path

import pandas as pd


def prepare(raw: Path, out: Path) -> None:
    """Write `data.csv` with `smiles`, `formula`, `weight` and `boiling_point`."""
    points = pd.read_csv(raw / "Yaws Boiling Points.tsv", sep="\t").dropna()
    rows = []
    with (raw / "chemical identifiers pubchem large.tsv").open(encoding="utf-8") as handle:
        for line in handle:  # PubChem number, CAS, formula, weight, SMILES, then any number of names
            _, cas, formula, weight, smiles = line.rstrip("\n").split("\t")[:5]
            rows.append((cas, smiles, formula, weight))
    structures = pd.DataFrame(rows, columns=["CAS", "smiles", "formula", "weight"]).drop_duplicates("CAS")
    joined = structures.merge(points.drop_duplicates("CAS"), on="CAS").rename(columns={"Tb": "boiling_point"})
    joined = joined[joined["smiles"] != ""].drop_duplicates("smiles").drop(columns="CAS")
    joined.to_csv(out / "data.csv", index=False, quoting=csv.QUOTE_MINIMAL)
