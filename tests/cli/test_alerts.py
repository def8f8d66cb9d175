"""`penstock alerts` and `penstock explain`: what fires, taking and silencing, trying a receiver, causes from records."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.cli.completion import complete_alert, complete_silence
from penstock.control.alerts.monitors import MonitorReconciler
from penstock.control.alerts.rows import follow_deployment, raise_alert
from penstock.control.policy import kept
from penstock.control.world import LEASE_S, World, open_world
from penstock.core.home import Home
from penstock.serving.records import Record, RecordWriter
from penstock.store.signals import Signal
from penstock.testing.receivers import AtOnce, Receiver, receiver

if TYPE_CHECKING:
    from penstock.store.resources import Resource

Call = Callable[..., Any]


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def world(folder: Path) -> Iterator[World]:
    made = open_world(Home.find(folder))
    yield made
    made.store.close()


def watch(world: World, hook: Receiver | None = None, **sections: Any) -> Resource:
    """Deployment `m` with a rule, a signal over it, and one pass of its monitor."""
    sections = {"alerts": [{"when": "error_rate > 2%", "name": "errors", "severity": "critical"}], **sections}
    if hook is not None:
        sections["notify"] = {"receivers": {"ops": {"webhook": f"{hook.url}/ops"}, "dead": {"webhook": "http://127.0.0.1:9/"}}}
    spec = {"model": "m", "versions": [{"version": 1, "bundle": "x", "weight": 1.0}], "deploy": kept(sections)}
    deployment = world.store.resources.create("deployment", "m", spec, phase="live", due_at=None)
    follow_deployment(world, deployment)
    time.sleep(0.01)
    world.store.signals.append([Signal("m", "error_rate", time.time(), 0.2, 300.0)])
    turn(world)
    return deployment


def turn(world: World) -> None:
    row = world.store.resources.find("monitor", "m")
    assert row is not None
    assert world.store.resources.take("monitor", row.id, world.owner, LEASE_S)
    MonitorReconciler(AtOnce()).reconcile(row, world)
    world.store.resources.release("monitor", row.id, world.owner)


def test_nothing_is_no_error(call: Call, folder: Path) -> None:
    assert call("alerts").out == "nothing fires\n"
    assert call("alerts", "list", "--json").json == {"alerts": [], "pending": [], "silences": []}
    assert not (folder / ".penstock").exists()
    assert call("alerts", "show", "x", "--json").error["code"] == "not-found"


def test_list_show_and_take(call: Call, world: World) -> None:
    errors = {"when": "error_rate > 2%", "name": "errors", "severity": "critical", "clear_after": 0}
    watch(world, alerts=[errors, {"when": "error_rate > 1% for 5m"}])
    (found,) = call("alerts", "--json").json["alerts"]
    assert (found["alert"], found["severity"], found["phase"], found["acked"]) == ("errors", "critical", "firing", None)
    listed = call("alerts").out
    assert "errors" in listed
    assert "pending since" in listed
    assert "m: error_rate > 1% for 5m" in listed
    shown = call("alerts", "show", "errors").out
    assert "error_rate is 20 % (limit 2 %)" in shown
    assert "alert.fired" in shown
    assert "cause: there are no requests to compare" in shown
    assert call("alerts", "ack", found["id"][:12], "--note", "looking").code == 0
    assert "taken by user" in call("alerts", "list", "--deployment", "m").out
    assert call("alerts", "list", "--deployment", "other", "--json").json["alerts"] == []
    (event,) = [e for e in call("alerts", "show", found["id"], "--json").json["events"] if e["type"] == "alert.acked"]
    assert "looking" in event["message"]
    world.store.signals.append([Signal("m", "error_rate", time.time() + 1, 0.0, 300.0)])
    turn(world)
    assert call("alerts").out == "nothing fires\n"
    assert "over" in call("alerts", "list", "--all").out
    assert "is over" in call("alerts", "ack", "errors", "--json").error["message"]
    assert [entry.action for entry in world.store.audit.list()] == ["alert.ack"]


def test_silence_and_unsilence(call: Call, world: World) -> None:
    watch(world)
    made = call("alerts", "silence", "alert=err*", "severity=critical", "--for", "2h", "--why", "known", "--json").json
    assert len(made["alerts"]) == 1
    assert made["until"] == pytest.approx(time.time() + 7200, abs=60)
    turn(world)
    listed = call("alerts").out
    assert "silenced" in listed
    assert "alert=err* severity=critical" in listed
    assert call("alerts", "unsilence", made["silence"][:20], "--json").json["silence"] == made["silence"]
    assert call("alerts", "--json").json["silences"] == []
    assert call("alerts", "unsilence", made["silence"]).code == 2
    for wrong in (["colour=red"], ["nonsense"], []):
        assert call("alerts", "silence", *wrong, "--for", "2h", "--why", "x").code == 2
    assert call("alerts", "silence", "alert=x", "--for", "ever", "--why", "x", "--json").error["code"] == "bad-input"
    assert call("alerts", "silence", "alert=x", "--for", "900d", "--why", "x", "--json").error["code"] == "bad-input"


def test_receivers_are_tried_with_a_message_that_says_so(call: Call, world: World, hook: Receiver) -> None:
    watch(world, hook)
    assert call("alerts", "test", "m", "ops", "--json").json["receivers"] == [{"name": "ops", "error": None}]
    assert [got.json["test"] for got in hook.got] == [True]
    both = call("alerts", "test", "m")
    assert both.code == 1
    assert "ops: taken" in both.out
    assert "dead: cannot be reached" in both.out
    assert call("alerts", "test", "m", "dead", "--json").error["code"] == "not-delivered"
    assert "there are: dead, ops" in call("alerts", "test", "m", "nobody", "--json").error["message"]
    assert call("alerts", "test", "other").code == 2


def test_what_was_raised_is_ended_by_whoever_says_so(call: Call, world: World) -> None:
    watch(world)
    raised = raise_alert(world, "m", "by-hand", "info", "look")
    assert "ends when its condition" in call("alerts", "resolve", "errors", "--json").error["message"]
    told = call("alerts", "resolve", "by-hand", "--note", "looked", "--json").json
    assert (told["id"], told["phase"]) == (raised.id, "resolved")
    assert "looked" in told["why"]


def test_ids_are_completed(world: World, call: Call) -> None:
    watch(world)
    raised = raise_alert(world, "m", "by-hand", "info", "look")
    assert len(complete_alert("alert-")) == 2
    assert complete_alert(raised.id[:15]) == [raised.id]
    made = call("alerts", "silence", "alert=x", "--for", "1h", "--why", "x", "--json").json["silence"]
    assert complete_silence("sil") == [made]
    assert "begins 2 alerts" in call("alerts", "show", "alert-", "--json").error["message"]


def test_explain(call: Call, world: World, folder: Path) -> None:
    writer, now = RecordWriter(folder / ".penstock" / "gateway" / "records"), time.time()
    rows = []
    for n in range(3000):
        ts = now - 7000 + 7000 * n / 3000
        replica = f"r{n % 3}"
        bad = ts > now - 900 and replica == "r1"
        sizes, times = (10, 20, 3, 0), (0.1, 1.0, 1.5, 1)
        error = "replica-failed" if bad else None
        rows.append(Record(ts, f"q{n}", "m", "1", replica, "/v1/classify", "k", 500 if bad else 200, *sizes, *times, error))
    writer.write(rows)
    watch(world)
    told = call("explain", "m", "--signal", "error_rate", "--since", "15m", "--before", "90m", "--json").json
    assert told["causes"][0]["where"] == {"replica": "r1"}
    assert told["causes"][0]["errors"] == {"replica-failed": told["causes"][0]["requests"]}
    lines = call("explain", "m", "--since", "15m").out.splitlines()
    assert lines[0].startswith("m: error_rate, about alert-"), "what fires, by default"
    assert any(line.startswith("1. replica r1: 100 % failed (was 0 %)") for line in lines)
    slow = call("explain", "m", "--signal", "latency.p95_ms", "--since", "15m").out
    assert "did not change beyond chance" in slow
    assert "mean time: queue" in slow
    assert call("explain", "m", "--signal", "host.cpu", "--json").error["code"] == "bad-input"
    assert call("explain", "m", "--since", "ever", "--json").error["code"] == "bad-input"
    assert call("explain", "other", "--json").error["code"] == "not-found"
