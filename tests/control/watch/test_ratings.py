"""Feedback finds its request: once, for the key that asked, whenever it comes, after a restart too."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.control.watch import ratings as module
from penstock.control.watch import requests as requests_module
from penstock.control.watch.contract import Rated
from penstock.control.watch.ratings import LATE_S, WAIT_S, Ratings
from penstock.control.watch.reader import Reader, hour_of
from penstock.control.watch.requests import Requests
from penstock.serving.record_files import compact
from penstock.testing.watched import Notes, record, said

T = 1_700_000_000 // 3600 * 3600.0


class Home:
    """A gateway's folder, read as the watcher reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, Notes(folder, 5)
        self.reader = Reader(folder / "records", {}, hour_of(T))
        self.ratings = Ratings(folder, self.reader, hour_of(T))

    def take(self, until: float, now: float | None = None) -> list[Rated]:
        now = until if now is None else now
        found: list[Rated] = []
        while True:
            batch = self.reader.take(until, now)
            found += self.ratings.take(batch, now)
            if not batch.more:
                return found

    def restart(self) -> None:
        saved = self.ratings.as_json()
        self.reader = Reader(self.folder / "records", self.reader.places, self.reader.floor)
        self.ratings = Ratings(self.folder, self.reader, "")
        self.ratings.restore(saved)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr("penstock.control.watch.reader.LIST_S", 0.0)
    return Home(tmp_path)


def told(rated: list[Rated]) -> list[tuple[str, str | None, list[str | None]]]:
    return [(one.record["id"], one.said.label, [each.label for each in one.earlier]) for one in rated]


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("compacts", [False, True])
def test_corrections_know_what_they_replace(home: Home, restarts: bool, compacts: bool) -> None:
    home.notes.records([record(n, T + n) for n in range(20)])
    seen = []
    for turn, label in enumerate(["a", "b", "b", "c"]):
        home.notes.feedback(said(7, T + 30 + turn, label=label))
        seen += told(home.take(T + 30.5 + turn))
        if restarts:
            home.restart()
        if compacts:
            compact(home.folder / "records", T + 7200)
    assert seen == [("req-7", "a", []), ("req-7", "b", ["a"]), ("req-7", "c", ["a", "b"])]
    assert home.ratings.counts.repeated == (1 if not restarts else 0)  # counts are since the start


def test_it_counts_for_the_key_that_asked_and_not_for_copies(home: Home) -> None:
    home.notes.records([record(1, T + 1, shadow_of="req-0", version="2"), record(1, T + 2), record(2, T + 3, key=None)])
    home.notes.feedback(said(1, T + 4, key="other", label="x"), said(1, T + 4, label="a"), said(2, T + 5, key=None, label="b"))
    found = home.take(T + 9)
    assert told(found) == [("req-1", "a", []), ("req-2", "b", [])]
    assert found[0].record["version"] == "1"
    assert found[0].record["at"] == pytest.approx(T + 2)
    home.take(T + 10 + WAIT_S)
    assert home.ratings.counts.unmatched == 1
    assert home.ratings.waiting == {}


@pytest.mark.parametrize("restarts", [False, True])
def test_feedback_waits_for_a_request_that_still_runs(home: Home, restarts: bool) -> None:
    home.notes.records([record(1, T + 1)])
    home.notes.feedback(said(2, T + 2, label="early"), said(2, T + 3, label="later"), said(2, T + 3.1, label="later"))
    assert home.take(T + 5) == []
    if restarts:
        home.restart()
    home.notes.records([record(2, T + 60, total_ms=59_000.0)])
    assert told(home.take(T + 61)) == [("req-2", "early", []), ("req-2", "later", ["early"])]
    assert home.take(T + 62) == []


def test_late_feedback_counts_up_to_an_hour(home: Home) -> None:
    home.notes.records([record(n, T + 1) for n in range(2)])
    home.notes.feedback(said(0, T + LATE_S, label="a"), said(1, T + LATE_S + 2, label="b"))
    assert told(home.take(T + LATE_S + 10)) == [("req-0", "a", [])]
    assert home.ratings.counts.late == 1


def test_nothing_is_given_before_its_instant_and_a_clock_ahead_holds_nothing_back(home: Home) -> None:
    home.notes.records([record(n, T + 1) for n in range(3)])
    home.notes.feedback(said(0, T + 5, label="a"), said(1, T + 20, label="b"), said(2, T + 3000, label="c"))
    assert told(home.take(T + 6, T + 20)) == [("req-0", "a", [])]
    assert told(home.take(T + 25, T + 27)) == [("req-1", "b", []), ("req-2", "c", [])]


@pytest.mark.parametrize(
    "line",
    [
        b"[]\n",
        b'{"ts": 1}\n',
        b'{"ts": 1.0, "id": 5, "feedback": "x"}\n',
        b'{"ts": "1", "id": "req-0", "feedback": "x"}\n',
        b'{"ts": 1.0, "id": "req-0", "feedback": "x", "label": []}\n',
        b"\xff\xfe\n",
    ],
)
def test_lines_that_are_none_are_counted(home: Home, line: bytes) -> None:
    home.notes.records([record(0, T + 1)])
    home.notes.append(f"feedback/{hour_of(T)}-5.jsonl", line)
    home.notes.feedback(said(0, T + 2, label="a"))
    home.notes.append(f"feedback/{hour_of(T)}-5.jsonl", b'{"ts": 17000')
    assert told(home.take(T + 9)) == [("req-0", "a", [])]
    assert home.ratings.counts.unread == 1


def test_many_files_of_many_processes(home: Home) -> None:
    home.notes.records([record(n, T + n / 10) for n in range(1000)])
    for process in range(4):
        Notes(home.folder, process).feedback(*[said(n, T + n, label=f"{process}") for n in range(process, 1000, 4)])
    found = home.take(T + 1100)
    assert [one.record["id"] for one in found] == [f"req-{n}" for n in range(1000)]
    assert home.ratings.counts.rated == 1000


def test_memory_is_bounded(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 10)
    monkeypatch.setattr(module, "MOST_KNOWN", 5)
    monkeypatch.setattr(requests_module, "CHUNK", 16)
    home.notes.records([record(n, T + n / 100) for n in range(500)])
    home.notes.feedback(*[said(9000 + n, T + 10, label="x") for n in range(50)], *[said(n, T + 11, label="y") for n in range(400, 430)])
    found = home.take(T + 20)
    assert len(found) == 30
    assert len(home.ratings.waiting) == 10
    assert home.ratings.counts.unmatched == 40
    assert len(home.ratings._known) == 5


def test_the_oldest_requests_are_let_go_where_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "CHUNK", 10)
    notes = Notes(tmp_path, 5)
    notes.records([record(n, T + n) for n in range(100)])
    reader = Reader(tmp_path / "records", {}, hour_of(T))
    taken = reader.take(T + 200, T + 200).taken
    known = Requests(tmp_path / "records", most=30)
    for each in taken:
        for number in each.numbers:
            known.add([type(each)(each.segment, each.piece, [number])])
    known.forget(0.0)
    found = known.find([(f"req-{n}", "key-1") for n in range(100)])
    assert set(found) == {(f"req-{n}", "key-1") for n in range(70, 100)}
    known.forget(T + 85)
    assert ("req-75", "key-1") not in known.find([("req-75", "key-1")])
    assert known.find([("req-99", "key-1")])[("req-99", "key-1")]["id"] == "req-99"


def test_a_record_that_is_gone_is_not_found(tmp_path: Path) -> None:
    notes = Notes(tmp_path, 5)
    notes.records([record(1, T)])
    reader = Reader(tmp_path / "records", {}, hour_of(T))
    known = Requests(tmp_path / "records")
    known.add(reader.take(T + 1, T + 1).taken)
    for path in (tmp_path / "records").iterdir():
        path.unlink()
    assert known.find([("req-1", "key-1")]) == {}
