"""The grader's process: grading, comparing, custom graders, and its death, hang and memory cap."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as skm

from dojo.errors import Failure, GradingError
from dojo.mle import wire
from dojo.mle.grader import Grader
from dojo.mle.grading import GradingRoom
from dojo.mle.metrics import get_metric
from dojo.score import Comparison, Score
from dojo.task import Metric, TaskSpec

N = 60
IDS = [f"r{i}" for i in range(N)]
RNG = np.random.default_rng(0)
TARGET = RNG.normal(size=N)


def task(metric="rmse", problem="regression", classes=()):
    return TaskSpec(
        id="t", problem=problem, metric=get_metric(metric, problem).metric, target="y", classes=classes
    )


def custom_task():
    return TaskSpec(
        id="t", problem="regression", metric=Metric(name="mine", direction="min", custom=True), target="y"
    )


def submission(values, ids=IDS):
    return pd.DataFrame({"id": ids, "y": values}).to_csv(index=False).encode()


def write_answers(folder, values=TARGET, **columns):
    path = folder / "answers.csv"
    pd.DataFrame({"id": IDS, "y": values, **columns}).to_csv(path, index=False)
    return path


def custom_grader(folder, source, **options):
    grade_py = folder / "grade.py"
    grade_py.write_text(source)
    return Grader(custom_task(), grade_py=grade_py, **options)


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    event = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        event.wait(0.01)


def alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("view")
    train = folder / "train.csv"
    pd.DataFrame({"id": range(200), "x": np.arange(200) / 7, "y": np.arange(200) * 2.0}).to_csv(
        train, index=False
    )
    with Grader(task()) as grader:
        grader.load("search", write_answers(folder), train)
        yield grader


GOOD = submission(TARGET + 0.1 * RNG.normal(size=N))
BAD = submission(TARGET + RNG.normal(size=N))


def test_score_agrees_with_scikit_learn(loaded):
    predictions = TARGET + 0.5
    score = loaded.grade(submission(predictions), view="search", split="validation")
    assert isinstance(score, Score)
    assert score.value == pytest.approx(skm.root_mean_squared_error(TARGET, predictions))
    assert (score.metric, score.direction, score.split, score.n) == ("rmse", "min", "validation", N)


def test_comparison_of_good_and_bad(loaded):
    result = loaded.compare(GOOD, BAD, view="search")
    assert isinstance(result, Comparison)
    assert result.p_better > 0.99 and result.delta > 0 and result.method == "paired"
    assert loaded.compare(BAD, GOOD, view="search").p_better < 0.01
    assert loaded.compare(GOOD, GOOD, view="search").method == "identical"


def test_reordered_copy_of_a_submission_is_identical(loaded):
    lines = GOOD.splitlines(keepends=True)
    assert loaded.compare(lines[0] + b"".join(lines[:0:-1]), GOOD, view="search").method == "identical"


def test_bad_submission_is_a_failure(loaded):
    failure = loaded.grade(submission(np.full(N, np.nan)), view="search", split="validation")
    assert isinstance(failure, Failure)
    assert (failure.boundary, failure.kind) == ("submission", "missing_values")


@pytest.mark.parametrize("value", [1e308, -1e200])
def test_overflowing_metric_is_a_failure(loaded, value):
    failure = loaded.grade(submission(np.full(N, value)), view="search", split="validation")
    assert isinstance(failure, Failure) and failure.kind == "value_too_large"


def test_large_file_is_refused_without_reaching_the_worker(loaded):
    failure = loaded.grade(b"id,y\n" + b"x" * 10_000_000, view="search", split="validation")
    assert isinstance(failure, Failure) and failure.kind == "too_large"


def test_comparing_an_invalid_submission_is_an_error_with_its_kind(loaded):
    with pytest.raises(GradingError, match="child is not a valid submission: empty"):
        loaded.compare(b"", GOOD, view="search")


def test_unknown_view(loaded):
    with pytest.raises(GradingError, match="'final' was not loaded"):
        loaded.grade(GOOD, view="final", split="test")


def test_check_says_nothing_of_the_score(loaded):
    assert loaded.check(GOOD, view="search") is None
    failure = loaded.check(b"id,y\n", view="search")
    assert failure is not None and failure.kind == "missing_rows"


def test_profile_and_observe(loaded):
    assert {o.name for o in loaded.profile(view="search")} >= {"rows"}
    oof = pd.DataFrame({"id": range(200), "fold": np.arange(200) % 4, "y": np.arange(200) * 2.0 + 1}).to_csv(
        index=False
    )
    with_oof = loaded.observe(view="search", oof=oof.encode())
    without = loaded.observe(view="search", oof=None)
    assert len(with_oof) > len(without)


@pytest.mark.parametrize(
    ("oof", "kind"),
    [
        (b"\xff\xfe\x00", "not_text"),
        (b"id,y\n" + b"1,1\n" * 500_000, "too_large"),
        (b"id," + b"a," * 9999, "too_large"),
    ],
)
def test_hostile_oof_is_told_and_costs_nothing_else(loaded, oof, kind):
    facts = {o.name: o for o in loaded.observe(view="search", oof=oof)}
    assert facts["oof_refused"].value == kind


def test_observing_needs_the_training_table(tmp_path):
    room = GradingRoom(task(), None)
    room.load("search", write_answers(tmp_path), None, None)
    with pytest.raises(GradingError, match="without its training table"):
        room.profile(view="search")


def test_view_without_answers_is_checked_and_not_graded(tmp_path):
    test = tmp_path / "test.parquet"
    pd.DataFrame({"id": IDS, "x": 0}).to_parquet(test)
    room = GradingRoom(task(), None)
    room.load("final", None, None, test)
    assert room.check(GOOD, view="final") is None
    with pytest.raises(GradingError, match="has no answers"):
        room.grade(GOOD, view="final", split="test")


def test_auc_and_blocks(tmp_path):
    y = np.arange(N) % 2
    p = np.clip(y * 0.3 + RNG.random(N), 0, 1)
    block = np.arange(N) // 10
    room = GradingRoom(task("auc", "binary", ("0", "1")), None)
    room.load("search", write_answers(tmp_path, y), None, None)
    plain = room.grade(submission(p), view="search", split="validation")
    assert plain.value == pytest.approx(skm.roc_auc_score(y, p))
    assert room.compare(submission(p), submission(p[::-1]), view="search").method == "delong"
    room.load("search", write_answers(tmp_path, y, __block__=block), None, None)  # replaces the view
    clustered = room.grade(submission(p), view="search", split="validation")
    assert clustered.value == plain.value and clustered.se != plain.se


def test_metric_direction_must_be_the_registrys():
    wrong = task().model_copy(update={"metric": Metric(name="rmse", direction="max")})
    with pytest.raises(GradingError, match="must be 'rmse', min, value"):
        GradingRoom(wrong, None)


def test_broken_answers_leave_the_grader_usable(loaded, tmp_path):
    with pytest.raises(GradingError, match="cannot be read"):
        loaded.load("other", tmp_path / "nothing.csv")
    assert isinstance(loaded.grade(GOOD, view="search", split="validation"), Score)


# --- the process ------------------------------------------------------------------------------------------


def test_killed_worker_is_replaced_with_its_views(tmp_path):
    with Grader(task()) as grader:
        grader.load("search", write_answers(tmp_path))
        before = grader.grade(GOOD, view="search", split="validation")
        first = grader.pid
        os.kill(first, signal.SIGKILL)
        assert grader.grade(GOOD, view="search", split="validation") == before
        assert grader.pid != first and not alive(first)


def test_close_ends_the_worker(tmp_path):
    grader = Grader(task())
    grader.start()
    pid = grader.pid
    assert alive(pid)
    grader.close()
    grader.close()
    assert not alive(pid)
    with pytest.raises(GradingError, match="closed"):
        grader.load("search", write_answers(tmp_path))


def test_forgotten_grader_leaves_no_process():
    grader = Grader(task())
    grader.start()
    pid = grader.pid
    del grader
    wait_until(lambda: not alive(pid))


def test_worker_survives_the_thread_that_started_it(tmp_path):
    grader = Grader(task())
    answers = write_answers(tmp_path)
    thread = threading.Thread(target=grader.load, args=("search", answers))
    thread.start()
    thread.join()
    pid = grader.pid
    assert isinstance(grader.grade(GOOD, view="search", split="validation"), Score)
    assert grader.pid == pid
    grader.close()


def test_several_threads_get_their_own_answers(loaded):
    offsets = np.arange(24) / 4
    scores = {}

    def work(part):
        for offset in part:
            scores[offset] = loaded.grade(
                submission(TARGET + offset), view="search", split="validation"
            ).value

    threads = [threading.Thread(target=work, args=(offsets[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert scores == pytest.approx({offset: offset for offset in offsets}, abs=1e-9)


def test_interrupted_request_does_not_answer_the_next_one(loaded, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(wire, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loaded.grade(submission(TARGET + 7.0), view="search", split="validation")
    assert loaded.grade(submission(TARGET + 3.0), view="search", split="validation").value == pytest.approx(3)


def interrupted(*_args, **_options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    "frame",
    [
        b"\x80\x04\x95",  # the start of a pickle
        b"\xff\xff\xff\xff" + b"{}",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x0d" + b'{"blobs":[9]}',
        b"\x00\x00\x00\x0e" + b'{"blobs":[-1]}',
        b"\x00\x00\x00\x02\xff\xfe",
    ],
)
def test_what_is_no_frame_is_refused(frame):
    read, write = os.pipe()
    try:
        os.write(write, frame)
        os.close(write)
        with pytest.raises(wire.WireError):
            wire.receive(read, most=8)
    finally:
        os.close(read)


def test_a_claim_of_two_gigabytes_allocates_nothing():
    read, write = os.pipe()
    try:
        text = b'{"blobs":[2147483648]}'
        os.write(write, len(text).to_bytes(4, "big") + text)
        with pytest.raises(wire.WireTimeout):
            wire.receive(read, time.monotonic() + 0.05)
    finally:
        os.close(read)
        os.close(write)


HANGS = """
def grade(submission, answers):
    if submission["y"].iloc[0] > 100:
        while True:
            pass
    return 1.0
"""


def test_hang_is_ended_and_the_next_request_served(tmp_path):
    slow = submission(np.full(N, 1000.0))
    with custom_grader(tmp_path, HANGS, timeout_s=20.0) as grader:
        grader.load("search", write_answers(tmp_path))
        grader._timeout_s = 0.3
        pid = grader.pid
        with pytest.raises(GradingError, match=r"took over 0\.3 s.*define row_losses"):
            grader.grade(slow, view="search", split="validation")
        assert not alive(pid)
        grader._timeout_s = 20.0
        assert grader.grade(GOOD, view="search", split="validation").value == 1.0


def test_worker_that_dies_of_a_request_is_an_error(tmp_path):
    source = "import os\ndef grade(submission, answers):\n    os.kill(os.getpid(), 11)\n"
    with custom_grader(tmp_path, source) as grader:
        grader.load("search", write_answers(tmp_path))
        with pytest.raises(GradingError, match=r"died twice.*SIGSEGV"):
            grader.grade(GOOD, view="search", split="validation")


def test_memory_is_capped(tmp_path):
    source = "import numpy\ndef grade(submission, answers):\n    return numpy.ones(2**30).sum()\n"  # 8 GiB
    with custom_grader(tmp_path, source) as grader:
        grader.load("search", write_answers(tmp_path))
        with pytest.raises(GradingError, match="MemoryError"):
            grader.grade(GOOD, view="search", split="validation")


CALLER = """
import sys, numpy, pathlib
from dojo.mle.grader import Grader
from dojo.task import Metric, TaskSpec
folder = pathlib.Path(sys.argv[1])
spec = TaskSpec(id="t", problem="regression", metric=Metric(name="m", direction="min", custom=True), target="y")
grader = Grader(spec, grade_py=folder / "grade.py")
grader.load("search", folder / "answers.csv")
print(grader.pid, flush=True)
grader.grade((folder / "slow.csv").read_bytes(), view="search", split="validation")
"""


def test_worker_dies_with_its_parent_even_while_it_hangs(tmp_path):
    write_answers(tmp_path)
    (tmp_path / "slow.csv").write_bytes(submission(np.full(N, 1000.0)))
    (tmp_path / "grade.py").write_text(HANGS)
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", CALLER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": root}, cwd="/") as caller:
        pid = int(caller.stdout.readline())
        assert alive(pid)
        caller.kill()
    wait_until(lambda: not alive(pid))


def test_no_secret_of_the_caller_reaches_the_worker(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with Grader(task()) as grader:
        grader.start()
        assert b"sk-secret" not in Path(f"/proc/{grader.pid}/environ").read_bytes()


# --- a task's own grader ----------------------------------------------------------------------------------

MAE = """
import numpy as np
def grade(submission, answers):
    merged = answers.merge(submission, on="id", suffixes=("", "_p"), validate="one_to_one")
    return (merged["y"] - merged["y_p"]).abs().mean()
"""
ROWS = "def row_losses(submission, answers):\n    return np.abs(submission['y'] - answers['y'])\n"


@pytest.fixture
def own(tmp_path):
    """What runs inside the worker, without the process: a fresh one for every case would cost a second each."""

    def build(source):
        grade_py = tmp_path / "grade.py"
        grade_py.write_text(source)
        room = GradingRoom(custom_task(), grade_py)
        room.load("search", write_answers(tmp_path), None, None)
        return room

    return build


def test_own_grader_with_row_losses(own):
    p = TARGET + 0.5 * RNG.normal(size=N)
    score = own(MAE + ROWS).grade(submission(p), view="search", split="test")
    losses = np.abs(p - TARGET)
    assert score.value == pytest.approx(losses.mean())
    assert score.se == pytest.approx(losses.std(ddof=1) / math.sqrt(N))
    assert score.metric == "mine"


def test_own_grader_without_row_losses_is_resampled(own):
    p = TARGET + 0.5 * RNG.normal(size=N)
    grader = own(MAE)
    score = grader.grade(submission(p), view="search", split="test")
    losses = np.abs(p - TARGET)
    assert score.se == pytest.approx(losses.std(ddof=1) / math.sqrt(N), rel=0.3)
    result = grader.compare(submission(TARGET), submission(p), view="search")
    assert result.method == "resample" and result.p_better > 0.99


@pytest.mark.parametrize(
    "body",
    [
        "raise ValueError('the submission has a negative price')",
        "raise AssertionError('submission: negative price')",
        "raise KeyError('submission lacks a negative price')",
    ],
)
def test_own_grader_refuses_a_submission(own, body):
    failure = own(f"def grade(submission, answers):\n    {body}\n").grade(GOOD, view="search", split="test")
    assert (failure.boundary, failure.kind) == ("submission", "grader_refused")
    assert "negative price" in failure.message


def test_own_validate_refuses_with_any_value_error(own):
    source = "def validate(submission, answers):\n    raise ValueError('too flat')\n" + MAE
    failure = own(source).grade(GOOD, view="search", split="test")
    assert (failure.kind, failure.message) == ("grader_refused", "too flat")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def grade(submission, answers):\n    return 1 / 0\n", "ZeroDivisionError"),
        ("def grade(submission, answers):\n    raise ValueError('x')\n", "ValueError: x"),
        ("def grade(submission, answers):\n    return 'high'\n", "must return a number"),
        (MAE + "def row_losses(submission, answers):\n    return [1.0]\n", "must return 60 finite numbers"),
        (
            MAE + "def row_losses(submission, answers):\n    return np.zeros(60)\n",
            "the mean of row_losses is 0",
        ),
    ],
)
def test_broken_own_grader_is_not_the_submissions_fault(own, source, message):
    grader = own(source)
    with pytest.raises(GradingError, match=message):
        grader.grade(GOOD, view="search", split="test")


@pytest.mark.parametrize(
    ("source", "message"),
    [("x = 1\n", "define grade"), ("import nothing_of_this_name\n", "cannot be imported")],
)
def test_unusable_grade_py(own, source, message):
    with pytest.raises(GradingError, match=message):
        own(source)


def test_own_grader_that_gives_nan(own):
    failure = own("def grade(submission, answers):\n    return float('nan')\n").grade(
        GOOD, view="search", split="test"
    )
    assert failure.kind == "not_finite_score"


def test_own_grader_with_columns_of_its_own(tmp_path):
    answers = tmp_path / "answers.csv"
    pd.DataFrame({"id": IDS, "a": TARGET, "b": "x"}).to_csv(answers, index=False)
    source = """
import os, sys
def grade(submission, answers):
    print("noise", sys.stdin.read())
    os.write(1, b"noise")
    return (submission["a"] - answers["a"]).abs().mean()
"""
    sent = pd.DataFrame({"id": IDS[::-1], "a": TARGET[::-1] + 1.0, "b": "y"}).to_csv(index=False).encode()
    with custom_grader(tmp_path, source) as grader:
        grader.load("search", answers)
        assert grader.grade(sent, view="search", split="test").value == pytest.approx(1.0)
        assert grader.grade(b"a,b\n1,2\n", view="search", split="test").kind == "wrong_columns"
