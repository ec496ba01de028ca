"""Out-of-fold predictions: hostile input, brought into one checked form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dojo.mle.observe_columns import FloatArray, as_floats, column
from dojo.task import TaskSpec

_MOST_CLASSES = 64


@dataclass(frozen=True)
class Oof:
    """Out-of-fold predictions aligned with the training rows they belong to.

    Attributes:
        rows: positions in the training frame, one per prediction.
        fold: fold number per row, from 0; all 0 where the file names none.
        truth: rows × outputs; numbers, or 0/1 per class.
        guess: rows × outputs; numbers, probabilities, or 0/1 of the predicted label.
        label: class index of the truth per row (-1 where there are no classes).
        guessed: class index of the prediction per row.
        share: share of the training rows that have a usable prediction.
        problems: what was wrong with the file, in words.
    """

    rows: NDArray[np.int64]
    fold: NDArray[np.int64]
    truth: FloatArray
    guess: FloatArray
    label: NDArray[np.int64]
    guessed: NDArray[np.int64]
    share: float
    problems: tuple[str, ...]

    @property
    def residual(self) -> FloatArray:
        """Truth minus prediction, rows × outputs."""
        return self.truth - self.guess


def target_numbers(spec: TaskSpec, train: pd.DataFrame) -> FloatArray:
    """The target as numbers; class labels become their index in `spec.classes`, unknown ones -1."""
    values = column(train, spec.target)
    if spec.problem not in ("binary", "multiclass"):
        return as_floats(values)
    return label_index(spec, values).astype(float)


def label_index(spec: TaskSpec, values: pd.Series) -> NDArray[np.int64]:
    """Index of each label in `spec.classes`; -1 for what is none of them.

    Numbers are compared as numbers, so that `1`, `1.0` and `"1"` are the same label.
    """
    text = values.astype("string").fillna("")
    index = pd.Index(_plain(pd.Series(list(spec.classes), dtype="string")))
    if not index.is_unique:
        index = pd.Index(list(spec.classes))
        return np.asarray(index.get_indexer(pd.Index(text.astype(str))), np.int64)
    return np.asarray(index.get_indexer(pd.Index(_plain(text))), np.int64)


def _plain(text: pd.Series) -> list[str]:
    """Strip a trailing `.0`, which a column of whole numbers gains on its way through a float."""
    return [t[:-2] if t.endswith(".0") else t for t in text.astype(str)]


def align(spec: TaskSpec, train: pd.DataFrame, oof: pd.DataFrame) -> Oof | str:
    """Check and align; a string says why nothing can be used."""
    columns = [str(c) for c in oof.columns]
    probabilities = spec.metric.needs == "probabilities"
    wanted = list(spec.classes) if probabilities else [spec.target]
    if spec.id_column not in columns:
        return f"it has no column {spec.id_column}"
    missing = [c for c in wanted if c not in columns]
    if missing:
        return f"it has no column {missing[0]}"
    frame = oof.set_axis(columns, axis=1).iloc[: 3 * len(train) + 1000]
    problems: list[str] = []
    known, asked = _comparable(column(train, spec.id_column), column(frame, spec.id_column))
    if not known.is_unique:
        return "the training identifiers are not unique"
    rows = np.asarray(known.get_indexer(asked))
    _, first = np.unique(rows, return_index=True)
    keep = np.zeros(len(rows), bool)
    keep[first] = True
    keep &= rows >= 0
    if int((rows < 0).sum()):
        problems.append(f"{int((rows < 0).sum())} rows have an unknown identifier")
    position = np.flatnonzero(keep)
    rows = rows[position].astype(np.int64)
    frame = frame.iloc[position]
    fold = _folds(frame) if "fold" in columns else np.zeros(len(frame), np.int64)
    target = target_numbers(spec, train)[rows]
    truth, guess, label, guessed = _outputs(spec, frame, target)
    usable = np.isfinite(truth).all(axis=1) & np.isfinite(guess).all(axis=1)
    if spec.problem in ("binary", "multiclass"):
        usable &= (label >= 0) & (guessed >= 0)
    if int((~usable).sum()):
        problems.append(f"{int((~usable).sum())} rows have no usable prediction")
    if int(usable.sum()) < 10:
        return "fewer than 10 rows have a usable prediction"
    order = np.flatnonzero(usable)
    order = order[np.argsort(rows[order], kind="stable")]
    return Oof(
        rows=rows[order],
        fold=fold[order],
        truth=np.clip(truth[order], -1e100, 1e100),
        guess=np.clip(guess[order], -1e100, 1e100),
        label=label[order],
        guessed=guessed[order],
        share=float(len(order)) / max(1, len(train)),
        problems=tuple(problems),
    )


def _comparable(a: pd.Series, b: pd.Series) -> tuple[pd.Index, pd.Index]:
    """Identifiers as whole numbers where both sides are, else as strings."""
    if (
        pd.api.types.is_integer_dtype(a)
        and pd.api.types.is_integer_dtype(b)
        and not a.hasnans
        and not b.hasnans
    ):
        return pd.Index(a), pd.Index(b)
    return tuple(pd.Index(_plain(c.astype("string").fillna(""))) for c in (a, b))  # type: ignore[return-value]


def _folds(frame: pd.DataFrame) -> NDArray[np.int64]:
    raw, _ = pd.factorize(column(frame, "fold").astype("string").fillna(""), sort=True)
    # A file that names hundreds of folds names none: the numbers are then something else.
    return raw.astype(np.int64) if len(raw) and raw.max() < 50 else np.zeros(len(frame), np.int64)


def _outputs(
    spec: TaskSpec, frame: pd.DataFrame, target: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.int64], NDArray[np.int64]]:
    needs = spec.metric.needs
    if spec.problem not in ("binary", "multiclass"):
        guess = as_floats(column(frame, spec.target))
        none = np.full(len(frame), -1, np.int64)
        return target[:, None], guess[:, None], none, none
    label = target.astype(np.int64)
    classes = len(spec.classes)
    if needs == "probabilities":
        guess = np.column_stack([as_floats(column(frame, c)) for c in spec.classes])
        guess = np.where((guess < -1e-6) | (guess > 1 + 1e-6), np.nan, guess)
        whole = np.isfinite(guess).all(axis=1)
        guessed = np.where(whole, np.argmax(np.nan_to_num(guess), axis=1), -1).astype(np.int64)
    elif needs == "label":
        guessed = label_index(spec, column(frame, spec.target))
        if classes == 2:
            return (label == 1).astype(float)[:, None], (guessed == 1).astype(float)[:, None], label, guessed
        guess = np.eye(classes)[np.maximum(guessed, 0)]
    else:
        guess = as_floats(column(frame, spec.target))[:, None]
        # Ranking metrics take any score; one outside 0–1 is mapped by its rank.
        finite = np.isfinite(guess[:, 0])
        if finite.any() and (guess[finite].min() < 0 or guess[finite].max() > 1):
            guess[finite, 0] = pd.Series(guess[finite, 0]).rank(pct=True).to_numpy(float)
        guessed = np.where(finite, (np.nan_to_num(guess[:, 0]) >= 0.5), -1).astype(np.int64)
        return (label == 1).astype(float)[:, None], guess, label, guessed
    if classes == 2:
        return (label == 1).astype(float)[:, None], guess[:, 1:2], label, guessed
    truth = np.eye(classes)[np.maximum(label, 0)]
    if classes > _MOST_CLASSES:  # the classes with the largest errors stand for the rest
        worst = np.argsort(-np.nan_to_num((truth - guess) ** 2).sum(axis=0), kind="stable")[:_MOST_CLASSES]
        truth, guess = truth[:, worst], guess[:, worst]
    return truth, guess, label, guessed
