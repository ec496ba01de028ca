"""The live view, the plain lines, and watching from outside."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gome.errors import ResumeError
from gome.loop import events as ev
from gome.loop.assignment import Notice
from gome.loop.journal import read_journal
from gome.loop.state import RunState
from gome.report.board import Board
from gome.report.follow import follow
from gome.report.live import BARS, LiveView, draw, sparkline
from gome.report.plain import PlainView
from gome.report.words import clean, duration
from tests.support.journals import EVIL, Writer, finished_run


def replayed(root: Path, view) -> RunState:
    state = RunState()
    for record in read_journal(root / "journal.jsonl"):
        state.apply(record)
        view.on_record(record, state)
    return state


def shown(board: Board, width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(draw(board.snapshot(), width))
    return console.file.getvalue()


class Feed:
    """An observer that feeds a board."""

    def __init__(self) -> None:
        self.board = Board()

    def on_record(self, record, state) -> None:
        self.board.record(record, state)

    def on_notice(self, notice) -> None:
        self.board.notice(notice)


def running(root: Path) -> tuple[Feed, Writer]:
    writer = Writer(root, traces=2, steps=50)
    writer.baseline(1.0)
    writer.experiment(0, 0, 0.5, text="scale the numbers")
    writer.experiment(1, 0, 0.7, text="encode the words")
    writer.experiment(1, 1, 0.4, text="log of the target", parent="t1-s000", cites=("t0-s000",))
    writer.experiment(0, 1, None, status="failed", parent="t0-s000", failure="Traceback\nKeyError: 'x'")
    feed = Feed()
    replayed(root, feed)
    return feed, writer


def test_header_rows_and_footer(tmp_path: Path) -> None:
    feed, _ = running(tmp_path / "run")
    text = shown(feed.board)
    assert "fake" in text
    assert "rmse ↓" in text
    assert "baseline 1 ± 0.02" in text
    assert "best 0.4 ± 0.02 t1-s001" in text
    assert "4/50 experiments" in text
    assert "sealed" in text
    rows = [line for line in text.splitlines() if line.strip().startswith("trace 1 ")]
    assert any("log of the target" in row and "← 1" in row and "2 0 0" in row for row in rows)
    assert "building on t0-s000" in text
    assert "KeyError: 'x'" in text


def test_stages_and_hypotheses_come_from_notices(tmp_path: Path) -> None:
    feed, _ = running(tmp_path / "run")
    feed.on_notice(Notice(0, "t0-s002", "run", EVIL))
    text = shown(feed.board)
    assert "run" in text
    assert "alert(1)" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_markup_in_hypotheses_is_not_interpreted(tmp_path: Path) -> None:
    feed, _ = running(tmp_path / "run")
    feed.on_notice(Notice(0, "t0-s002", "run", "[bold red]not markup[/] [link=x]"))
    assert "[bold red]not markup[/]" in shown(feed.board)


@pytest.mark.parametrize("width", [20, 40, 79, 80, 120, 300])
def test_lines_fit_into_any_terminal(tmp_path: Path, width: int) -> None:
    feed, _ = running(tmp_path / "run")
    assert max(len(line) for line in shown(feed.board, width).splitlines()) <= width


def test_a_resumed_run_is_shown_whole(tmp_path: Path) -> None:
    root = tmp_path / "run"
    _, writer = running(root)
    writer.append(ev.RunInterrupted(cause="interrupted"), ev.RunResumed())
    late = Feed()
    state = RunState()
    for record in read_journal(root / "journal.jsonl"):
        state.apply(record)
        if record.seq >= 7:  # an observer of `resume` is told of nothing before
            late.on_record(record, state)
    snapshot = late.board.snapshot()
    assert [row.accepted for row in snapshot.rows] == [1, 2]
    assert snapshot.finished_steps == 4
    assert snapshot.best.id == "t1-s001"


def test_time_stands_still_when_the_run_has_ended(tmp_path: Path) -> None:
    root = finished_run(tmp_path / "run", 6)
    feed = Feed()
    state = replayed(root, feed)
    assert feed.board.snapshot().elapsed_s == pytest.approx(state.wall_s())
    assert feed.board.snapshot().phase == "finished"
    assert feed.board.snapshot().closed


def test_lockstep_rounds_show_what_every_trace_does(tmp_path: Path) -> None:
    root = finished_run(tmp_path / "run", 6)
    lines = (root / "journal.jsonl").read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if json.loads(line)["type"] == "round.started")
    (root / "journal.jsonl").write_bytes(b"".join(lines[: at + 1]))
    feed = Feed()
    replayed(root, feed)
    assert [row.stage for row in feed.board.snapshot().rows] == ["starting"] * 3


def test_live_view_starts_and_stops_with_the_run(tmp_path: Path) -> None:
    out = io.StringIO()
    view = LiveView(Console(file=out, force_terminal=True, width=120))
    replayed(finished_run(tmp_path / "run", 6), view)
    view.stop()
    text = out.getvalue()
    assert "trace 2" in text
    assert "\x1b[?25h" in text, "the cursor is back"


def test_plain_lines(tmp_path: Path) -> None:
    out = io.StringIO()
    state = replayed(finished_run(tmp_path / "run", 9), PlainView(out))
    lines = out.getvalue().splitlines()
    assert all(any(f" {name} " in line for line in lines) for name in state.experiments)
    assert "baseline" in lines[1]
    assert lines[-1].endswith("accepted")
    assert all(line.startswith("[") for line in lines)


def test_watch_follows_until_the_run_ends(tmp_path: Path) -> None:
    done = finished_run(tmp_path / "done", 9)
    data = (done / "journal.jsonl").read_bytes()
    live = tmp_path / "live"
    live.mkdir()
    (live / "lock").write_text(str(os.getpid()))
    parts = [data[i : i + 5000] for i in range(0, len(data), 5000)]
    (live / "journal.jsonl").write_bytes(parts.pop(0))

    def more(_: float) -> None:
        with (live / "journal.jsonl").open("ab") as file:
            file.write(parts.pop(0))

    out = io.StringIO()
    assert "gome report" in follow(live, PlainView(out), wait=more)
    assert not parts
    assert "finished: 9 experiments" in out.getvalue()


def test_watch_ends_when_nobody_has_the_run(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run")
    writer.baseline()
    root = writer.close()
    (root / "lock").write_text("4194305")  # above the largest possible process id
    assert "gome resume" in follow(root, PlainView(io.StringIO()))


def test_watch_once_shows_the_state_and_ends(tmp_path: Path) -> None:
    running(tmp_path / "run")
    out = io.StringIO()
    assert follow(tmp_path / "run", PlainView(out), once=True) == ""
    assert "log of the target" in out.getvalue()


def test_watch_says_that_a_run_was_interrupted(tmp_path: Path) -> None:
    _, writer = running(tmp_path / "run")
    writer.append(ev.RunInterrupted(cause="interrupted"))
    assert "interrupted" in follow(writer.close(), PlainView(io.StringIO()))


def test_watch_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="not a run directory"):
        follow(tmp_path, PlainView(io.StringIO()))


@given(st.lists(st.one_of(st.none(), st.floats(-1e300, 1e300)), max_size=40))
def test_sparklines_of_anything(values) -> None:
    line = sparkline(values)
    assert len(line) == len(values)
    assert set(line) <= set(BARS) | {"×"}


def test_sparkline_rises_with_the_score_in_spite_of_an_outlier() -> None:
    assert sparkline([-100.0, 1.0, 2.0, 3.0])[1:] < sparkline([-100.0, 3.0, 3.0, 3.0])[1:]
    assert sparkline([-100.0, 1.0, 2.0, 3.0])[0] == BARS[0]
    assert sparkline([-100.0, 1.0, 2.0, 3.0])[3] == BARS[-1]


@given(st.text())
def test_clean_text_is_printable_and_on_one_line(text: str) -> None:
    assert all(c == " " or c.isprintable() for c in clean(text))
    assert len(clean(text, 30)) <= 30


def test_durations() -> None:
    assert [duration(s) for s in (0, 3.25, 59.94, 61, 3599.7, 7500)] == [
        "0.0 s",
        "3.2 s",
        "59.9 s",
        "1:01 min",
        "1:00:00 h",
        "2:05:00 h",
    ]
