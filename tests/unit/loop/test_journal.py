from __future__ import annotations

from pathlib import Path

import pytest

from gome.errors import ResumeError
from gome.loop import events as ev
from gome.loop.journal import JsonlJournal, MemoryJournal, canonical, read_journal


def rounds(n: int, start: int = 0) -> list[ev.Event]:
    return [ev.RoundStarted(round=i, memory_version=i) for i in range(start, start + n)]


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    journal = JsonlJournal(tmp_path / "journal.jsonl")
    written = journal.append(rounds(3))
    journal.close()
    assert list(read_journal(tmp_path / "journal.jsonl")) == written
    assert [r.seq for r in written] == [0, 1, 2]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    journal = JsonlJournal(path)
    journal.append(rounds(3))
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(list(read_journal(path))) == 2
    again = JsonlJournal(path)
    again.append(rounds(1, start=7))
    again.close()
    assert [r.event.round for r in read_journal(path) if isinstance(r.event, ev.RoundStarted)] == [0, 1, 7]
    assert [r.seq for r in read_journal(path)] == [0, 1, 2]


def test_damage_in_the_middle_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = JsonlJournal(path)
    journal.append(rounds(3))
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"round":1', b'"round":5')
    path.write_bytes(b"".join(lines))
    with pytest.raises(ResumeError, match="line 2 is damaged"):
        list(read_journal(path))


def test_a_missing_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = JsonlJournal(path)
    journal.append(rounds(3))
    journal.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    with pytest.raises(ResumeError, match="lines are missing"):
        list(read_journal(path))


def test_another_schema_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr("gome.loop.journal.SCHEMA", 99)
    journal = JsonlJournal(path)
    journal.append(rounds(1))
    journal.close()
    monkeypatch.undo()
    with pytest.raises(ResumeError, match="schema 99"):
        list(read_journal(path))


def test_no_journal_is_no_run_directory(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="not a run directory"):
        list(read_journal(tmp_path / "journal.jsonl"))


def test_canonical_history_ignores_clocks_and_infrastructure() -> None:
    one, other = MemoryJournal(clock=lambda: 1.0), MemoryJournal(clock=lambda: 2.0)
    one.append(rounds(2))
    other.append([*rounds(1), ev.RunResumed(repeated=("t0-s001",)), *rounds(1, start=1)])
    assert canonical(list(one.read())) == canonical(list(other.read()))
    other.append(rounds(1, start=2))
    assert canonical(list(one.read())) != canonical(list(other.read()))
