"""Properties of every kind of split: disjoint, complete, pure by group, ordered in time, in proportion, repeatable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dojo.errors import TaskError
from dojo.mle.splits import MAX_HELD, Partition, partition
from dojo.task import Metric, SplitKind, TaskSpec

FRACTIONS = st.floats(0.05, 0.45)
CHUNKS = st.integers(0, 3)
SEEDS = st.integers(0, 2**31)


def spec(split: SplitKind, seed: int = 0, **fields: object) -> TaskSpec:
    return TaskSpec(
        id="t",
        problem=fields.pop("problem", "regression"),
        metric=Metric(name="rmse", direction="min"),
        target="y",
        group="g",
        time="t",
        split=split,
        seed=seed,
        **fields,
    )


def table(y: object, **columns: object) -> pd.DataFrame:
    """A table of text cells, as a CSV is read."""
    return pd.DataFrame({"y": y, **columns}).astype(str)


def held(frame: pd.DataFrame, part: Partition, column: str) -> set[str]:
    return set(frame[column].iloc[part.held])


def kept(frame: pd.DataFrame, part: Partition, column: str) -> set[str]:
    return set(frame[column].iloc[part.train])


@given(n=st.integers(2, 400), fraction=FRACTIONS, chunk=CHUNKS, seed=SEEDS)
def test_random_is_complete_disjoint_and_repeatable(n: int, fraction: float, chunk: int, seed: int) -> None:
    frame = table(np.arange(n))
    part = partition(spec("random", seed), frame, fraction=fraction, chunk=chunk)
    assert sorted([*part.train, *part.held]) == list(range(n))
    assert abs(len(part.held) - n * fraction) <= 1
    again = partition(spec("random", seed), frame, fraction=fraction, chunk=chunk)
    assert np.array_equal(part.held, again.held)


@given(n=st.integers(20, 400), fraction=st.floats(0.05, 0.25), seed=SEEDS)
def test_chunks_that_fit_do_not_overlap(n: int, fraction: float, seed: int) -> None:
    frame = table(np.arange(n))
    parts = [partition(spec("random", seed), frame, fraction=fraction, chunk=c).held for c in range(4)]
    together = np.concatenate(parts)
    assert len(set(together)) >= min(n, len(together)) - 4 * (4 * fraction > 0.99)
    if 4 * round(n * fraction) <= n:
        assert len(set(together)) == len(together)


@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=6), fraction=FRACTIONS, chunk=CHUNKS, seed=SEEDS
)
def test_stratified_keeps_proportions(counts: list[int], fraction: float, chunk: int, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat([f"c{i}" for i in range(len(counts))], counts))
    if max(counts) < 2:
        return
    part = partition(
        spec("stratified", seed, problem="multiclass"), table(labels), fraction=fraction, chunk=chunk
    )
    assert sorted([*part.train, *part.held]) == list(range(len(labels)))
    hidden = pd.Series(labels[part.held]).value_counts()
    for i, count in enumerate(counts):
        assert abs(hidden.get(f"c{i}", 0) - count * fraction) <= 1 + 1e-9
        assert hidden.get(f"c{i}", 0) < count, "every class must stay in training"
        if count * fraction >= 1:
            assert hidden.get(f"c{i}", 0) >= 1


@given(
    groups=st.lists(st.integers(0, 12), min_size=2, max_size=200).filter(lambda g: len(set(g)) > 1),
    fraction=FRACTIONS,
    chunk=CHUNKS,
    seed=SEEDS,
)
def test_groups_stay_together(groups: list[int], fraction: float, chunk: int, seed: int) -> None:
    frame = table(np.zeros(len(groups)), g=groups)
    part = partition(spec("group", seed), frame, fraction=fraction, chunk=chunk)
    assert sorted([*part.train, *part.held]) == list(range(len(groups)))
    assert not held(frame, part, "g") & kept(frame, part, "g")


def test_group_resplits_hold_other_groups() -> None:
    frame = table(np.zeros(400), g=np.repeat(np.arange(40), 10))
    seen = [held(frame, partition(spec("group"), frame, fraction=0.2, chunk=c), "g") for c in range(4)]
    assert [len(s) for s in seen] == [8, 8, 8, 8]
    assert len(set().union(*seen)) == 32


@given(
    times=st.lists(st.integers(0, 40), min_size=3, max_size=200).filter(lambda t: len(set(t)) > 1),
    fraction=FRACTIONS,
    chunk=CHUNKS,
)
def test_time_validation_lies_after_training(times: list[int], fraction: float, chunk: int) -> None:
    frame = table(np.zeros(len(times)), t=times)
    part = partition(spec("time"), frame, fraction=fraction, chunk=chunk)
    key = np.array(times)
    assert key[part.train].max() < key[part.held].min()
    assert not set(part.train) & set(part.held)
    left_out = sorted(set(range(len(times))) - set(part.train) - set(part.held))
    assert chunk > 0 or not left_out
    assert not left_out or key[left_out].min() > key[part.held].max()


def test_time_origins_move_back() -> None:
    frame = table(np.zeros(1000), t=np.arange(1000))
    parts = [partition(spec("time"), frame, fraction=0.2, chunk=c) for c in range(4)]
    assert [(p.held[0], p.held[-1]) for p in parts] == [(800, 999), (700, 899), (600, 799), (500, 699)]
    assert all(np.array_equal(p.train, np.arange(p.held[0])) for p in parts)


@given(points=st.integers(10, 120), series=st.integers(1, 4), chunk=CHUNKS, data=st.data())
def test_forecast_hides_a_horizon_of_every_series(
    points: int, series: int, chunk: int, data: st.DataObject
) -> None:
    horizon = data.draw(st.integers(1, points // 5))
    frame = table(
        np.zeros(points * series),
        t=np.tile(np.arange(points), series),
        g=np.repeat(np.arange(series), points),
    )
    part = partition(spec("time", problem="forecast"), frame, fraction=0.2, chunk=chunk, horizon=horizon)
    hidden = frame.iloc[part.held]
    assert hidden["t"].nunique() == horizon
    assert (hidden.groupby("g")["t"].nunique() == horizon).all()
    assert kept(frame, part, "t") == {str(t) for t in range(int(hidden["t"].astype(int).min()))}


@settings(max_examples=20)
@given(seed=SEEDS)
def test_validation_and_test_are_independent_draws(seed: int) -> None:
    frame = table(np.arange(200))
    test = partition(spec("random", seed), frame, fraction=0.2, purpose="test").held
    validation = partition(spec("random", seed), frame, fraction=0.2).held
    assert not np.array_equal(test, validation)


def test_no_more_rows_are_hidden_than_sharpen_a_score() -> None:
    frame = table(np.arange(60_000))
    assert len(partition(spec("random"), frame, fraction=0.2).held) == MAX_HELD
    assert len(partition(spec("random"), frame, fraction=0.2, purpose="test").held) == 12_000


@pytest.mark.parametrize("split", ["random", "stratified", "group", "time"])
def test_rows_that_cannot_be_split_are_refused(split: SplitKind) -> None:
    with pytest.raises(TaskError, match="at least 2"):
        partition(spec(split), table([1], g=[1], t=[1]), fraction=0.2)


@pytest.mark.parametrize("split", ["group", "time"])
def test_one_group_or_time_is_refused_with_the_page(split: SplitKind) -> None:
    with pytest.raises(TaskError, match=r"docs/tasks\.md"):
        partition(spec(split), table([1, 2, 3], g=[5, 5, 5], t=[5, 5, 5]), fraction=0.2)


CUSTOM = {
    "mask": ("return labelled['a'] > 7", None),
    "rows": ("import numpy as np\n    return np.flatnonzero(labelled['a'] > 7)", None),
    "seeded": (
        "import numpy as np\n    return np.random.default_rng(seed).random(len(labelled)) < 0.5",
        None,
    ),
    "everything": ("return labelled['a'] >= 0", "leaves no training row"),
    "nothing": ("return labelled['a'] < 0", "leaves no hidden row"),
    "short": ("return [True, False]", "boolean mask of 10 rows"),
    "outside": ("return [3, 10]", "row positions outside"),
    "raises": ("return labelled['b']", r"split\(\) failed: KeyError"),
    "none": ("return None", "boolean mask"),
}


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_split(name: str, tmp_path: Path) -> None:
    body, refusal = CUSTOM[name]
    path = tmp_path / "split.py"
    path.write_text(f"def split(labelled, seed):\n    {body}\n")
    frame = table(np.arange(10), a=np.arange(10))
    if refusal is not None:
        with pytest.raises(TaskError, match=refusal):
            partition(spec("custom"), frame, fraction=0.2, split_py=path)
        return
    part = partition(spec("custom"), frame, fraction=0.2, split_py=path)
    assert sorted([*part.train, *part.held]) == list(range(10))
    if name in ("mask", "rows"):
        assert part.held.tolist() == [8, 9]
    else:
        other = partition(spec("custom"), frame, fraction=0.2, chunk=1, split_py=path)
        again = partition(spec("custom"), frame, fraction=0.2, split_py=path)
        assert part.held.tolist() == again.held.tolist() != other.held.tolist()


def test_split_py_without_its_function(tmp_path: Path) -> None:
    (tmp_path / "split.py").write_text("x = 1\n")
    with pytest.raises(TaskError, match="defines no function split"):
        partition(spec("custom"), table([1, 2, 3]), fraction=0.2, split_py=tmp_path / "split.py")
