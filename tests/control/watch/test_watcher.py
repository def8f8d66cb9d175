"""Records and feedback to signals: at the right times, each once, whatever happens meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.watch import followed as followed_module
from penstock.control.watch.contract import KEEP_S, Happened, Watched
from penstock.control.watch.watcher import Watcher
from penstock.core.clock import ManualClock
from penstock.core.errors import DatabaseUnavailable, DiskFull
from penstock.core.files import write_atomic
from penstock.monitoring.windows.files import WindowFiles
from penstock.monitoring.windows.window import whole
from penstock.serving.snapshot import ModelRoute, Snapshot, write_snapshot
from penstock.store.signals import Signal
from penstock.testing.control import Bench, Crash
from penstock.testing.watched import Notes, by_name, deployment, record, registered, said

T = 1_700_000_000 // 3600 * 3600.0


class House:
    """A home with a deployment `m`, a clock at T, and a watcher that may be killed."""

    def __init__(self, folder: Path, **monitor: Any) -> None:
        self.bench = Bench(folder)
        self.clock: ManualClock = self.bench.clock
        self.store, self.home = self.bench.store, self.bench.home
        self.notes = Notes(self.home.gateway, 5)
        self.at(T)
        registered(self.store)
        self.row = deployment(self.store, versions=(1, 2), **monitor)
        write_snapshot(self.home.gateway / "snapshot.json", Snapshot(1, (ModelRoute("m", "text-classification", ()),)))
        self._watcher: Watcher | None = None

    def at(self, instant: float) -> None:
        """The clock goes there; the steady one goes on anyway."""
        step = instant - self.clock.now()
        self.clock.jump(step - max(step, 1.0))
        self.clock.sleep(max(step, 1.0))

    @property
    def watcher(self) -> Watcher:
        if self._watcher is None:
            self._watcher = Watcher(self.home, self.store, self.clock)
        return self._watcher

    def kill(self) -> None:
        self._watcher = None

    def look(self, instant: float) -> None:
        """Turns at this instant until there is no more to do."""
        self.at(instant)
        while self.watcher.turn():
            pass

    def signals(self, **where: Any) -> list[Signal]:
        return self.store.signals.read("m", **where)

    def windows(self, name: str = "m") -> dict[float, dict[str, float]]:
        """By start after T: requests and cost."""
        found = WindowFiles(self.home.folder / "monitor" / name / "windows").read(0.0, T + 10**9)
        return {f.span.start - T: {n: whole(f.cells)[n] for n in ("requests", "cost_usd", "rated")} for f in found}


@pytest.fixture(autouse=True)
def listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.watch.reader.LIST_S", 0.0)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, slices=["key"])
    yield made
    made.bench.close()


def test_a_window_is_told_when_it_is_over_and_on_disk(house: House) -> None:
    house.look(T + 1)
    house.notes.records([record(n, T + 10 + n, label="a", confidence=0.5, version=str(1 + n % 2)) for n in range(40)])
    house.notes.feedback(said(1, T + 30, label="b"), said(1, T + 40, label="a", score=0.5))
    house.look(T + 61.4)
    assert house.signals(since=T) == []
    house.look(T + 61.6)
    found = by_name(house.signals(), T + 60)
    assert found["requests"].value == 40
    assert found["live.accuracy"].value == 1.0
    assert found["live.score"].value == 0.75
    assert found["live.rated"].value == 1
    assert by_name(house.signals(), T + 60, "2")["requests"].value == 20
    assert by_name(house.signals(), T + 60, "", "key=key-1")["requests"].value == 40
    assert house.windows() == {0.0: {"requests": 40, "cost_usd": 0.0, "rated": 1}}


def test_time_alone_closes_windows(house: House) -> None:
    house.look(T + 1)
    house.look(T + 200)
    assert {s.at - T: s.value for s in house.signals(name="requests", since=T) if not s.version} == {60: 0, 120: 0, 180: 0}
    assert {s.version for s in house.signals(name="requests")} == {"", "1", "2"}
    assert house.signals(name="error_rate") == []
    assert house.windows() == {}


def test_after_a_long_time_alone_only_the_last_empty_windows_are_told(house: House) -> None:
    house.look(T + 1)
    house.notes.records([record(1, T + 86_400)])
    house.look(T + 2 * 86_400)
    told = [s.at - T for s in house.signals(name="requests", since=T + 60) if not s.version and not s.slice]
    assert len(told) == 60 + 1 + 60
    assert 86_460 in told


def test_late_records_count_in_the_window_that_is_open(house: House) -> None:
    house.look(T + 1)
    house.notes.records([record(1, T + 5)])
    house.look(T + 70)
    house.notes.records([record(2, T + 6)])
    house.look(T + 130)
    assert {start: window["requests"] for start, window in house.windows().items()} == {0.0: 1, 60.0: 1}


def test_a_deployment_that_comes_misses_nothing(house: House) -> None:
    house.look(T + 1)
    deployment(house.store, "n")
    house.notes.records([record(1, T + 2, model="n"), record(2, T + 2.5, model="unknown"), record(3, T + 3, model=None)])
    house.clock.sleep(0.0)
    house.look(T + 5)
    house.look(T + 70)
    assert by_name(house.store.signals.read("n"), T + 60)["requests"].value == 1
    assert house.watcher.health.foreign == 1
    assert house.watcher.health.deployments == ["m", "n"]


def test_a_deployment_of_another_home_is_left_alone(house: House) -> None:
    deployment(house.store, "elsewhere")
    house.notes.records([record(1, T + 2)])
    house.look(T + 70)
    assert house.store.signals.read("elsewhere") == []
    assert house.watcher.health.deployments == ["m"]


def test_a_deployment_that_is_made_again_begins_anew(house: House) -> None:
    house.notes.records([record(1, T + 2, cost_usd=1.0)])
    house.look(T + 70)
    house.watcher.close()
    assert house.store.resources.take("deployment", house.row.id, "test", 5.0)
    house.store.resources.save("deployment", house.row.id, "test", status={}, phase="deleted", due_at=None)
    house.look(T + 75)
    house.clock.sleep(1.0)
    deployment(house.store, versions=(2,))
    house.notes.records([record(2, T + 80, version="2", cost_usd=2.0)])
    house.look(T + 130)
    assert by_name(house.signals(), T + 120)["cost.month"].value == 2.0


def test_the_row_changes_and_the_window_goes_on(house: House) -> None:
    house.notes.records([record(n, T + n) for n in range(5)])
    house.look(T + 10)
    spec = {**house.row.spec, "deploy": {"monitor": {"slices": ["route"], "window": 120}}}
    house.store.resources.set_spec("deployment", house.row.id, spec)
    house.notes.records([record(n, T + 20 + n) for n in range(5)])
    house.look(T + 250)
    assert [(start, window["requests"]) for start, window in house.windows().items()] == [(0.0, 10)]
    assert by_name(house.signals(), T + 60, "", "route=/v1/classify")["requests"].value == 5
    assert by_name(house.signals(), T + 240)["requests_per_s"].value == 0


def test_old_signals_are_forgotten(house: House) -> None:
    house.store.signals.append([Signal("m", "requests", T - KEEP_S + 100, 1.0)])
    house.look(T + 1)
    house.look(T + 4000)
    assert min(s.at for s in house.signals()) > T - KEEP_S + 1000


def test_the_first_look_takes_records_from_the_full_hour_before(house: House) -> None:
    house.notes.records([record(1, T - 7300), record(2, T - 3500), record(3, T - 10)])
    house.look(T + 30)
    assert {start: w["requests"] for start, w in house.windows().items()} == {-3540.0: 1, -60.0: 1}


@pytest.mark.parametrize("by", [400.0, 90_000.0])
def test_a_clock_that_is_set_back_loses_nothing_and_counts_nothing_twice(house: House, by: float) -> None:
    house.look(T + 1)
    house.notes.records([record(n, T + 30 * n) for n in range(20)])
    house.look(T + 610)
    house.notes.records([record(n, T + 612 - by + 30 * n) for n in range(20)], segment=2)
    house.look(T + 612 - by)
    house.kill()
    for step in range(0, 700, 7):
        house.look(T + 612 - by + step)
    assert sum(w["requests"] for w in house.windows().values()) == 40
    told = [s for s in house.signals(name="requests", since=T + 620 - by, until=T + 1200 - by) if not s.version]
    assert sum(s.value for s in told) > 10


def test_the_database_goes_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.look(T + 1)
    house.notes.records([record(n, T + n) for n in range(30)])
    away = DatabaseUnavailable("gone")

    def refuse(*_: object, **__: object) -> None:
        raise away

    for target, names in ((type(house.store.signals), ["append"]), (type(house.store.resources), ["list"])):
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(target, name, refuse)
            for step in range(3):
                with pytest.raises(DatabaseUnavailable):
                    house.look(T + 62 + step)
            house.notes.records([record(100 + n, T + 62 + n) for n in range(10)])
    house.look(T + 130)
    assert {start: w["requests"] for start, w in house.windows().items()} == {0.0: 30, 60.0: 20}
    assert by_name(house.signals(), T + 120)["requests"].value == 20


def test_a_full_disk_costs_nothing_once_there_is_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.look(T + 1)

    def full(*_: object, **__: object) -> None:
        raise DiskFull("no space left")

    house.notes.records([record(n, T + n) for n in range(60)])
    with monkeypatch.context() as patch:
        patch.setattr(WindowFiles, "append", full)
        patch.setattr("penstock.control.watch.saved.write_atomic", full)
        patch.setattr("penstock.control.watch.health.write_atomic", full)
        house.look(T + 70)
        house.notes.records([record(n, T + n) for n in range(60, 120)])
        house.look(T + 130)
        assert by_name(house.signals(), T + 120)["requests"].value == 60
        assert house.windows() == {}
    house.notes.records([record(n, T + n) for n in range(120, 150)])
    house.look(T + 190)
    assert {start: w["requests"] for start, w in house.windows().items()} == {0.0: 60, 60.0: 60, 120.0: 30}
    house.kill()
    house.look(T + 250)
    assert sum(w["requests"] for w in house.windows().values()) == 150


class Failing:
    """A measure that fails when it sees request `req-13`."""

    name = "kpis"

    def __init__(self, watched: Watched) -> None:
        self.seen = 0
        del watched

    def fold(self, happened: Happened) -> list[Signal]:
        if any(row["id"] == "req-13" for row in happened.records):
            raise RuntimeError("thirteen")
        self.seen += len(happened.records)
        return [Signal("m", "seen", happened.until, float(self.seen))]

    def state(self) -> bytes:
        return str(self.seen).encode()

    def restore(self, state: bytes) -> None:
        self.seen = int(state)


class Table:
    """kpis, and one from outside."""

    def names(self) -> list[str]:
        return ["failing", "kpis"]

    def load(self, name: str) -> Callable[[Watched], Any]:
        from penstock.control.watch.kpis import make

        return Failing if name == "failing" else make


def test_a_measure_that_fails_does_not_stop_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(followed_module, "MEASURES", Table())
    house.notes.records([record(n, T + n) for n in range(10)])
    house.look(T + 20)
    house.watcher.save()
    house.notes.records([record(13, T + 25)])
    house.look(T + 30)
    assert "thirteen" in caplog.text
    house.notes.records([record(n, T + 40 + n) for n in range(20, 25)])
    house.look(T + 70)
    assert by_name(house.signals(), T + 60)["requests"].value == 11
    house.look(T + 95)
    house.notes.records([record(n, T + 96) for n in range(30, 33)])
    house.look(T + 100)
    assert max(s.value for s in house.signals(name="seen")) == 13  # ten, three, and nothing of what came while it was set aside


def test_a_state_that_no_measure_can_read_is_told_and_measured_anew(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.notes.records([record(n, T + n) for n in range(10)])
    house.look(T + 20)
    kept = house.watcher.following.known["m"].kept()
    house.watcher.close()
    house.watcher.saved.write(house.watcher.saved.position, {"m": type(kept)(kept.resource, {"kpis": b"nonsense"})})
    house.kill()
    house.notes.records([record(n, T + n) for n in range(30, 40)])
    house.look(T + 70)
    assert "starts anew" in caplog.text
    assert house.windows()[0.0]["requests"] == 10


def story(seed: int) -> list[tuple[float, Callable[[House], None]]]:
    """Things that happen, by when: records of two processes and feedback, some of it replaced."""
    draw = random.Random(seed)
    events: list[tuple[float, Callable[[House], None]]] = []
    for number in range(draw.randrange(5, 60)):
        at = T + (draw.uniform(1, 900) if number else 1.0)  # a watcher that knows nothing begins with the first record
        row = record(number, at, version=draw.choice("12"), cost_usd=0.25, key=draw.choice(["key-1", "key-2"]), label="a")
        process = draw.choice((5, 6))
        events.append((at, lambda house, row=row, process=process: Notes(house.home.gateway, process).records([row])))  # type: ignore[misc]
        for _ in range(draw.choice((0, 0, 1, 2))):
            later = at + draw.uniform(0.5, 300)
            one = said(number, later, key=row["key"], label=draw.choice("ab"), score=draw.choice((0.0, 1.0)))
            events.append((later, lambda house, one=one: house.notes.feedback(one)))  # type: ignore[misc]
    return sorted(events, key=lambda event: event[0])


def lived(house: House, seed: int, step: float, die: Callable[[], None] = lambda: None) -> tuple[Any, Any]:
    """Looks every `step` seconds; `die` is called before each. A crash is followed by another watcher. Returns signals and windows."""
    events = story(seed)
    at = T
    while at < T + 1300:
        at += step
        while events and events[0][0] <= at:
            events.pop(0)[1](house)
        while True:
            try:
                die()
                house.look(max(at, house.clock.now()))
                break
            except Crash:
                house.kill()
    die()
    house.kill()
    made = {(s.at, s.name, s.version, s.slice): (s.value, s.count, s.low, s.high) for s in house.signals(until=T + 1260)}
    return {place: told for place, told in made.items() if not place[1].startswith(("host.", "replicas."))}, house.windows()


@given(st.integers(0, 10**6), st.integers(0, 10**6))
@settings(max_examples=10)
def test_killed_at_any_point_it_comes_to_the_same_end(tmp_path_factory: pytest.TempPathFactory, seed: int, chance: int) -> None:
    quiet = House(tmp_path_factory.mktemp("quiet"), slices=["key"])
    expected = lived(quiet, seed, 37.0)
    quiet.bench.close()
    draw, left = random.Random(chance), [0]

    def touch() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Crash

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            touch()
            result = real(*args, **kwargs)
            touch()
            return result

        return counted

    house = House(tmp_path_factory.mktemp("killed"), slices=["key"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.control.watch.reader.LIST_S", 0.0)
        patch.setattr("penstock.control.watch.saved.write_atomic", around(write_atomic))
        patch.setattr(WindowFiles, "_append", around(WindowFiles._append))
        patch.setattr(type(house.store.signals), "append", around(type(house.store.signals).append))
        found = lived(house, seed, draw.uniform(5, 60), lambda: left.__setitem__(0, draw.choice((0, 0, draw.randrange(1, 12)))))
    house.bench.close()
    assert found[1] == expected[1]
    assert found[0] == expected[0]
