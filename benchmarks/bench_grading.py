"""What grading costs: one round trip to the grader's process to grade, and one to compare with the parent.

    python benchmarks/bench_grading.py [--rows 2000] [--repeats 200] [--json]

Every submission is new to the grader, as in a run; its parent was graded before. Times are wall times of the
caller in milliseconds. `floor` is the same round trip for a submission the grader refuses at its header:
pipes, hashing and the process switch.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from dojo.errors import Failure
from dojo.mle.grader import Grader
from dojo.mle.metrics import get_metric
from dojo.task import TaskSpec


def milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1e3 * (time.perf_counter() - start)


def measure(metric: str, problem: str, rows: int, repeats: int) -> dict[str, float | str | int]:
    rng = np.random.default_rng(0)
    classes = () if problem == "regression" else ("0", "1")
    y = rng.normal(size=rows) if problem == "regression" else rng.integers(0, 2, rows)

    def submission() -> bytes:
        p = y + rng.normal(size=rows)
        p = p if problem == "regression" else (p - p.min()) / (p.max() - p.min())
        return pd.DataFrame({"id": range(rows), "y": p}).to_csv(index=False).encode()

    spec = TaskSpec(
        id="bench", problem=problem, metric=get_metric(metric, problem).metric, target="y", classes=classes
    )
    with tempfile.TemporaryDirectory() as folder, Grader(spec) as grader:
        answers = Path(folder) / "answers.csv"
        pd.DataFrame({"id": range(rows), "y": y}).to_csv(answers, index=False)
        start = milliseconds(lambda: grader.load("search", answers))
        parent = submission()
        grader.grade(parent, view="search", split="validation")
        grade, compare, floor = [], [], []
        for index in range(repeats):
            child = submission()
            grade.append(milliseconds(lambda: grader.grade(child, view="search", split="validation")))  # noqa: B023
            compare.append(milliseconds(lambda: grader.compare(child, parent, view="search")))  # noqa: B023
            refused = b"x%d" % index + child
            floor.append(milliseconds(lambda: grader.grade(refused, view="search", split="validation")))  # noqa: B023
            assert isinstance(grader.grade(refused, view="search", split="validation"), Failure)
            parent = child
    both = np.add(grade, compare)
    return {
        "metric": metric,
        "rows": rows,
        "repeats": repeats,
        "start_and_load_ms": round(start, 1),
        "grade_p50_ms": round(float(np.median(grade)), 2),
        "compare_p50_ms": round(float(np.median(compare)), 2),
        "grade_and_compare_p50_ms": round(float(np.median(both)), 2),
        "grade_and_compare_p95_ms": round(float(np.quantile(both, 0.95)), 2),
        "floor_p50_ms": round(float(np.median(floor)), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    options = parser.parse_args()
    for metric, problem in (("rmse", "regression"), ("auc", "binary")):
        result = measure(metric, problem, options.rows, options.repeats)
        if options.json:
            print(json.dumps(result))
        else:
            print("  ".join(f"{key}={value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
