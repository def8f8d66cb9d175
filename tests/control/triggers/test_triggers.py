"""Triggers by the clock, by data, by hand; late, in other time zones, over crashes and files that cannot be loaded."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.contract import Again
from penstock.control.preparing import prepare
from penstock.control.triggers.clock import last_time, next_time
from penstock.control.triggers.orders import fire, follow, trigger_row
from penstock.control.triggers.reconciler import TriggerReconciler
from penstock.control.world import LEASE_S, World
from penstock.store.resources import Resource
from penstock.testing.control import Bench, Crash

BERLIN = "Europe/Berlin"


def at(*when: int, zone: str = BERLIN) -> float:
    return datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[misc]  # year, month, day, …


def test_daylight_saving_skips_no_night_and_doubles_none() -> None:
    spring = next_time("30 2 * * *", BERLIN, at(2026, 3, 28, 12))
    assert spring == at(2026, 3, 29, 3)
    assert next_time("30 2 * * *", BERLIN, spring) == at(2026, 3, 30, 2, 30)
    autumn = next_time("30 2 * * *", BERLIN, at(2026, 10, 24, 12))
    assert autumn is not None
    assert next_time("30 2 * * *", BERLIN, autumn) == at(2026, 10, 26, 2, 30)
    assert next_time("0 9 * * mon", "America/New_York", at(2026, 11, 27, 0)) == at(2026, 11, 30, 9, zone="America/New_York")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["* * * * *", "*/7 * * * *", "0 3 * * *", "15 8-18 * * mon-fri"]), st.integers(0, 10**8), st.integers(0, 90_000))
def test_the_last_time_is_the_next_ones_before(line: str, start: int, span: int) -> None:
    since = 1_750_000_000.0 + start
    found = last_time(line, BERLIN, since, since + span)
    if found is None:
        following = next_time(line, BERLIN, since)
        assert following is None or following > since + span
    else:
        assert since < found <= since + span
        following = next_time(line, BERLIN, found)
        assert following is None or following > since + span


def file(folder: Path, triggers: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "steps.py").write_text("def count(path):\n    return len(open(path).read())\n")
    if not (folder / "rows.csv").exists():
        (folder / "rows.csv").write_text("text,label\n" + "".join(f"t{n},{'ab'[n % 2]}\n" for n in range(20)))
    path = folder / "penstock.yaml"
    path.write_text(
        f"name: p\ntask: text-classification\ndata: {{sources: [{{uri: rows.csv, text: text, label: label}}]}}\ntriggers: {triggers}\n"
    )
    return path


def declared(bench: Bench, path: Path) -> tuple[World, Resource]:
    world = bench.world()
    row = follow(world, prepare(path, world), [], "test")
    assert row is not None
    return world, row


def turn(world: World, bench: Bench, row: Resource) -> float:
    found = bench.store.resources.get("trigger", row.id)
    assert world.store.resources.take("trigger", row.id, world.owner, LEASE_S)
    outcome = TriggerReconciler().reconcile(found, world)
    world.store.resources.release("trigger", row.id, world.owner)
    return outcome.after_s if isinstance(outcome, Again) else -1.0


def runs(bench: Bench) -> list[dict[str, Any]]:
    return [run.spec["cause"] for run in reversed(bench.store.resources.list("run"))]


def events(bench: Bench, row: Resource) -> list[str]:
    return [f"{e.type}: {e.message}" for e in bench.store.events.list("trigger", row.id)]


def test_the_clock_starts_runs_and_makes_up_for_missed_ones_once(bench: Bench, tmp_path: Path) -> None:
    world, row = declared(bench, file(tmp_path / "p", '[{cron: "0 3 * * *", timezone: Europe/Berlin}]'))
    pause = turn(world, bench, row)
    due = next_time("0 3 * * *", BERLIN, bench.clock.now())
    assert due is not None
    assert pause == min(3600.0, due - bench.clock.now())
    bench.clock.sleep(due - bench.clock.now() + 5)
    turn(world, bench, row)
    assert runs(bench) == [{"trigger": row.id, "cron": "0 3 * * *", "at": due}]
    turn(world, bench, row)
    assert len(runs(bench)) == 1
    bench.clock.sleep(5 * 86_400 + 7200)  # nobody was there for five nights
    turn(bench.world(), bench, row)
    assert len(runs(bench)) == 2
    assert "7205 s late" in events(bench, row)[-1]
    shown = trigger_row(bench.store.resources.get("trigger", row.id))["triggers"][0]
    assert shown["next"] > bench.clock.now()
    assert shown["last_fired"]["run"].startswith("run-")


def test_data_that_changed_and_stands_still_starts_a_run(bench: Bench, tmp_path: Path) -> None:
    path = file(tmp_path / "p", "[{data: arrives, every: 1m}]")
    world, row = declared(bench, path)

    def later() -> int:
        bench.clock.sleep(61)
        turn(world, bench, row)
        return len(runs(bench))

    assert [later(), later()] == [0, 0]
    rows = path.parent / "rows.csv"
    rows.write_text(rows.read_text() + "half a")
    assert later() == 0
    rows.write_text(rows.read_text() + " row,a\n")  # it was still being written
    assert later() == 0
    assert [later(), later()] == [1, 1]
    assert "1 source changed" in events(bench, row)[-1]


def test_a_file_that_cannot_be_loaded_is_told_once_and_tried_again(bench: Bench, tmp_path: Path) -> None:
    path = file(tmp_path / "p", '[{cron: "* * * * *"}]')
    world, row = declared(bench, path)
    turn(world, bench, row)
    whole = path.read_text()
    path.write_text("name: [")
    for _ in range(3):
        bench.clock.sleep(60)
        turn(world, bench, row)
    assert runs(bench) == []
    assert [e.partition(":")[0] for e in events(bench, row)] == ["trigger.failed"]
    path.write_text(whole)
    bench.clock.sleep(60)
    turn(world, bench, row)
    assert len(runs(bench)) == 1


def test_the_row_follows_the_file(bench: Bench, tmp_path: Path) -> None:
    path = file(tmp_path / "p", '[{cron: "0 3 * * *"}]')
    world, row = declared(bench, path)
    assert declared(bench, path)[1].generation == row.generation, "the same again changes nothing"
    file(tmp_path / "p", '[{cron: "0 4 * * *"}, {data: arrives}]')
    assert [t.get("cron") for t in declared(bench, path)[1].spec["triggers"]] == ["0 4 * * *", None]
    path.write_text(path.read_text().partition("triggers")[0])
    assert follow(world, prepare(path, world), [], "test") is None
    assert turn(world, bench, row) == -1.0
    assert bench.store.resources.get("trigger", row.id).phase == "removed"
    assert [e.action for e in bench.store.audit.all()] == ["trigger.set", "trigger.set", "trigger.remove"]


def test_by_hand_the_same_id_is_the_same_run(bench: Bench, tmp_path: Path) -> None:
    world = bench.world()
    ready = prepare(file(tmp_path / "p", "[]"), world)
    first = fire(world, ready, "commit-1", "ci")
    assert fire(world, ready, "commit-1", "ci").id == first.id
    assert fire(world, ready, "commit-2", "ci").id != first.id
    bench.clock.sleep(1)
    assert fire(world, ready, None, "ci").id != first.id


def test_retraining_needs_something_that_is_deployed(bench: Bench, tmp_path: Path) -> None:
    world, row = declared(bench, file(tmp_path / "p", '[{cron: "* * * * *", do: retrain}]'))
    turn(world, bench, row)
    bench.clock.sleep(60)
    turn(world, bench, row)
    assert "nothing is deployed as 'p'" in events(bench, row)[-1]


@pytest.mark.parametrize("point", range(1, 14))
def test_a_crash_anywhere_starts_it_once(bench: Bench, tmp_path: Path, point: int) -> None:
    world, row = declared(bench, file(tmp_path / "p", '[{cron: "* * * * *"}]'))
    turn(world, bench, row)
    bench.clock.sleep(60)
    with contextlib.suppress(Crash):
        turn(bench.world(crash_at=point), bench, row)
    bench.clock.sleep(LEASE_S + 1)
    turn(bench.world(), bench, row)
    assert len(runs(bench)) == 1
    assert len(events(bench, row)) == 1
