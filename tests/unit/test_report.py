"""report.html: complete, self-contained, escaped, bounded."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dojo.errors import Failure
from gome.api import read_state
from gome.errors import ResumeError
from gome.loop import events as ev
from gome.loop.journal import read_journal
from gome.report import charts, sections
from gome.report.diffs import MAX_LINES
from gome.report.html import write_report
from gome.report.summary import summary, top_gains
from gome.report.svg import ticks
from gome.report.timeline import Timeline
from gome.result import summarize
from tests.support.journals import EVIL, Writer, finished_run


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if "id" in dict(attrs):
            self.ids.add(dict(attrs)["id"])


def page_of(root: Path) -> tuple[str, Page]:
    text = write_report(root).read_text()
    return text, Page(text)


def test_a_whole_run_is_told(tmp_path: Path) -> None:
    root = finished_run(tmp_path / "run")
    state = read_state(root)
    text, page = page_of(root)
    for experiment in state.experiments.values():
        assert f"e-{experiment.id}" in page.ids
    links = {a["href"] for tag, a in page.tags if tag == "a" and a.get("href")}
    assert {link[1:] for link in links} <= page.ids, "every link leads somewhere in the file"
    adopted = [c for e in state.experiments.values() for c in e.proposal.citations if c.use == "adopted"]
    assert adopted
    assert text.count('class="cite ') >= 1
    assert "adopted" in text
    assert f"{state.test.score.value:.4g}" in text
    assert "bronze" in text
    assert "not a Kaggle medal" in text
    assert (
        str(state.episode.looks)
        in dict(sections.certificate(Timeline.of(records(root)), {}))["looks at validation"]
    )
    assert "3 traces" in text


def records(root: Path):
    return read_journal(root / "journal.jsonl")


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    text, page = page_of(finished_run(tmp_path / "run", 8))
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith("#")
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert "http://" not in text.replace("http://www.w3.org", "")
    assert "@import" not in text
    assert "url(" not in text


def hostile(root: Path) -> Path:
    writer = Writer(root, agent=EVIL)
    writer.baseline(2.0)
    writer.experiment(0, 0, 1.0, text=EVIL, code=f"# {EVIL}\n</pre><script>alert(3)</script>\n")
    writer.experiment(1, 0, 0.9, text=EVIL, parent=None)
    writer.experiment(1, 1, 0.8, text=EVIL, parent="t1-s000", cites=("t0-s000",), code=EVIL)
    writer.experiment(0, 1, None, status="failed", parent="t0-s000", text=EVIL, failure=f"Traceback\n{EVIL}")
    writer.append(ev.TraceRetired(trace=0, cause=EVIL), ev.RunInterrupted(cause=EVIL))
    return writer.close()


def test_texts_of_programs_and_models_are_only_text(tmp_path: Path) -> None:
    text, page = page_of(hostile(tmp_path / "run"))
    assert [t for t, _ in page.tags].count("script") == 1
    assert "img" not in [t for t, _ in page.tags]
    assert html.escape("<script>alert(1)</script>", quote=False) in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "{{ 7*7 }}" in text
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)


def test_the_script_is_the_one_that_the_policy_names(tmp_path: Path) -> None:
    import base64
    import hashlib

    text, page = page_of(hostile(tmp_path / "run"))
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy


def test_summaries_for_terminals_hold_no_control_characters(tmp_path: Path) -> None:
    root = hostile(tmp_path / "run")
    state = read_state(root)
    lines = summary(state, summarize(state, root))
    assert all(c.isprintable() for line in lines for c in line)


@pytest.mark.parametrize("cut", ["run.started", "baseline.scored", "experiment.finished", "final.started"])
def test_unfinished_runs_are_reported_too(tmp_path: Path, cut: str) -> None:
    root = finished_run(tmp_path / "run", 8)
    lines = (root / "journal.jsonl").read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if json.loads(line)["type"] == cut)
    (root / "journal.jsonl").write_bytes(b"".join(lines[: at + 1]))
    text, _ = page_of(root)
    assert "This run is not finished" in text
    assert summary(read_state(root), summarize(read_state(root), root))


def test_a_run_without_any_valid_score(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run")
    writer.append(ev.BaselineScored(files={}))
    writer.experiment(0, 0, None, status="failed", failure="ValueError: boom")
    writer.append(ev.FinalStarted(candidates=(), reason="steps"), ev.FinalChosen(order=(), means={}))
    writer.append(ev.RunFinished(best=None, experiments=1, accepted=0))
    root = writer.close()
    text, _ = page_of(root)
    assert "no valid experiment" in text
    assert "ValueError: boom" in text
    lines = summary(read_state(root), summarize(read_state(root), root))
    assert any("no experiment gave a valid score" in line for line in lines)


def test_an_empty_or_foreign_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="not a run directory"):
        write_report(tmp_path)
    (tmp_path / "journal.jsonl").write_bytes(b"")
    with pytest.raises(ResumeError, match="nothing to report"):
        write_report(tmp_path)


def test_a_thousand_experiments_stay_within_bounds(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run", traces=4, steps=1000)
    writer.baseline(2.0)
    parents = dict.fromkeys(range(4), None)
    for i in range(1000):
        trace, step = i % 4, i // 4
        code = "".join(f"line {j} of {i}: {'x' * 80}\n" for j in range(60))
        accepted = step % 10 == 0
        made = writer.experiment(
            trace,
            step,
            2.0 - i / 1000,
            status="accepted" if accepted else "rejected",
            parent=parents[trace],
            text=f"idea {i} " + "long words " * 20,
            code=code,
        )
        if accepted:
            parents[trace] = made.id
    root = writer.close()
    text, page = page_of(root)
    assert len(text) < 12_000_000
    assert sum(1 for i in page.ids if i and i.startswith("e-")) == 1000
    assert "left out to keep this file small" in text


def test_differences_are_cut_and_say_so(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run")
    writer.baseline()
    writer.experiment(0, 0, 1.0, code="".join(f"a = {i}\n" for i in range(3 * MAX_LINES)))
    second = "".join(f"b = {i}\n" for i in range(3 * MAX_LINES))
    writer.experiment(0, 1, 0.9, parent="t0-s000", code=second)
    writer.experiment(0, 2, 0.8, parent="t0-s001", code=second + "c = 1\n")
    root = writer.close()
    text, _ = page_of(root)
    assert f"cut after {MAX_LINES} of" in text
    assert '<span class="add">+c = 1</span>' in text


def test_missing_blobs_are_said_not_hidden(tmp_path: Path) -> None:
    root = finished_run(tmp_path / "run", 6)
    for path in (root / "blobs").rglob("*"):
        if path.is_file():
            path.unlink()
    text, _ = page_of(root)
    assert "not in the run directory any more" in text


def test_gains_are_sorted_and_drafts_left_out(tmp_path: Path) -> None:
    state = read_state(finished_run(tmp_path / "run", 24))
    gains = top_gains(state, 50)
    deltas = [e.comparison.delta for e in gains]
    assert deltas == sorted(deltas, reverse=True)
    assert deltas
    assert all(e.parent for e in gains)


def test_slot_seconds_add_up(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run")
    writer.baseline()
    for i in range(4):
        writer.experiment(i % 2, i // 2, 1.0 - i / 10)
    run = Timeline.of(records(writer.close()))
    assert list(run.slot_at.values()) == [0.5, 1.0, 1.5, 2.0]
    assert sorted(run.finished_at.values()) == list(run.finished_at.values())
    assert {n: s for n, s, _ in sections.stages(run.state)} == pytest.approx({"run": 2.0, "propose": 0.4})


def test_one_terrible_draft_does_not_flatten_the_chart(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run")
    writer.baseline(0.40)
    writer.experiment(0, 0, 0.38)
    writer.experiment(1, 0, 55.0)
    writer.experiment(0, 1, 0.35, parent="t0-s000")
    run = Timeline.of(records(writer.close()))
    drawn = str(charts.progress(run, run.finished_at, "s"))
    low, high = (
        float(x)
        for x in re.findall(r'class="tick end">([\d.]+)<', drawn)[
            :: len(re.findall(r'class="tick end">([\d.]+)<', drawn)) - 1
        ]
    )
    assert 0.3 < low < high < 0.5
    assert 'd="M' in drawn


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.31, 0.37, 3) == [0.32, 0.34, 0.36]
    assert ticks(5, 5) == [5]


def test_a_run_whose_final_runs_all_failed_says_so(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "run")
    writer.append(ev.BaselineScored(files={}))
    failure = Failure(boundary="solution", kind="timed_out", message="stopped", stage="run")
    writer.append(ev.FinalRun(candidate="t0-s000", failure=failure))
    writer.append(ev.RunFinished(best=None, experiments=1, accepted=1))
    root = writer.close()
    lines = summary(read_state(root), summarize(read_state(root), root))
    assert any("no candidate's final run" in line for line in lines)
