"""A deployment's monitor: from signals to alerts to messages, whatever dies on the way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.control.alerts.rows import follow_deployment, raise_alert, resolve_alert
from penstock.control.alerts.silences import silence, silences, unsilence
from penstock.control.deployments import DeploymentReconciler, desired_deployment, get_deployment
from penstock.control.world import LEASE_S
from penstock.core.errors import BadInput, NotFound
from penstock.monitoring.alerting.standing import matcher_of
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.alerts import Scene, scene_of
from penstock.testing.control import Crash
from penstock.testing.deployments import process
from penstock.testing.receivers import Receiver

Make = Callable[..., Scene]
RULE = {"when": "error_rate > 2% for 2m", "name": "errors", "severity": "critical"}


def told(hook: Receiver) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """(status, [(alert, status, new)]) of every message."""
    return [(m.json["status"], [(a["name"], a["status"], a["new"]) for a in m.json["alerts"]]) for m in hook.got]


def ops(hook: Receiver, **more: Any) -> dict[str, Any]:
    return {"receivers": {"ops": {"webhook": hook.url, **more}}}


def test_a_rule_fires_is_told_clears_and_is_told(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[RULE], notify=ops(hook))
    found.measure(0.01, 0.05, 0.06)
    assert found.alerts() == []
    assert [row["phase"] for row in found.monitor.status["states"]] == ["pending"]
    found.measure(0.07)
    (alert,) = found.alerts("firing")
    assert alert.status["message"] == "error_rate is 7 % (limit 2 %), for 2 min 0 s"
    assert alert.status["facts"][0]["count"] == 500.0
    assert hook.got == []
    found.wait(15)
    assert told(hook) == [("firing", [("errors", "firing", True)])]
    assert hook.got[0].json["link"] == "http://gateway:1"
    found.measure(0.01, 0.01)
    assert found.alerts("firing"), "it is over once it has not held for as long as it had to"
    found.measure(0.01)
    assert [(a.phase, a.status["why"]) for a in found.alerts()] == [("resolved", "the condition no longer holds")]
    assert len(hook.got) == 1, "five minutes between messages"
    found.wait(300)
    assert told(hook)[1:] == [("resolved", [("errors", "resolved", False)])]
    kinds = [event.type for event in found.events(alert)]
    assert kinds == ["alert.fired", "alert.explained", "alert.told", "alert.resolved", "alert.told"]
    assert set(found.alerts()[0].status["told"]) == {"ops"}
    found.measure(*[0.01] * 20)
    assert len(hook.got) == 2


def test_a_part_has_an_alert_of_its_own_and_all_come_in_one_message(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[{**RULE, "when": "error_rate > 2%"}], notify=ops(hook))
    now = found.bench.clock.now() + 30
    rows = [Signal("m", "error_rate", now, 0.5, 400.0, version=v, slice=s) for v, s in (("", ""), ("3", ""), ("", "key=a"))]
    found.bench.store.signals.append([*rows, Signal("m", "error_rate", now, 0.01, 400.0, version="2")])
    found.wait(60)
    assert {(a.spec["version"], a.spec["slice"]) for a in found.alerts()} == {("", ""), ("3", ""), ("", "key=a")}
    assert "of version 3" in next(a for a in found.alerts() if a.spec["version"] == "3").status["message"]
    (message,) = hook.got
    assert len(message.json["alerts"]) == 3
    assert {a["labels"].get("slice") for a in message.json["alerts"]} == {None, "key=a"}


def test_signals_that_stop_are_told_and_nothing_clears_meanwhile(scene: Make, hook: Receiver) -> None:
    found = scene(
        alerts=[{**RULE, "when": "error_rate > 2%"}], notify={**ops(hook), "heartbeat": {"url": f"{hook.url}/alive", "every": 60}}
    )
    found.measure(0.05)
    found.wait(280, watched=False)
    beats = [got for got in hook.got if got.path == "/alive"]
    assert len(beats) in (5, 6)
    found.wait(600, watched=False)
    firing = {a.spec["alert"]: a for a in found.alerts("firing")}
    assert set(firing) == {"errors", "signals-missing"}
    assert "is the watcher running" in firing["signals-missing"].status["message"]
    later = [got for got in hook.got if got.path == "/alive"]
    assert len(later) <= len(beats) + 1, "without signals the heart stands still"
    found.measure(0.05)
    assert {a.spec["alert"] for a in found.alerts("firing")} == {"errors"}


def test_a_clock_that_is_set_back_blinds_no_rule(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[RULE, {"when": "error_rate > 1%", "name": "light"}], notify=ops(hook))
    found.bench.clock.sleep(90_000)
    found.measure(0.015, 0.05)
    assert [a.spec["alert"] for a in found.alerts("firing")] == ["light"]
    found.bench.clock.jump(-7200)
    found.bench.store.resources.wake("monitor", found.monitor.id)
    found.measure(0.05, 0.06, 0.07, 0.08)
    assert {a.spec["alert"] for a in found.alerts("firing")} == {"errors", "light"}
    found.measure(0.0, 0.0, 0.0, 0.0)
    assert found.alerts("firing") == []


def test_what_the_file_no_longer_says_is_over(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[{**RULE, "when": "error_rate > 2%"}], notify=ops(hook))
    found.measure(0.05)
    found.wait(15)
    found.change(alerts=[{"when": "error_rate > 50%"}], notify=ops(hook))
    found.settle()
    assert [a.status["why"] for a in found.alerts()] == ["the rule is not in the file any more"]
    found.wait(300)
    assert told(hook)[-1] == ("resolved", [("errors", "resolved", False)])


def test_a_deployment_that_is_deleted_ends_its_monitor_after_the_last_word(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[{**RULE, "when": "error_rate > 2%"}], notify=ops(hook))
    found.measure(0.05)
    found.wait(15)
    found.bench.store.resources.set_spec("deployment", found.deployment.id, {**found.deployment.spec, "delete": True})
    follow_deployment(found.world, found.deployment)
    found.settle()
    assert [a.status["why"] for a in found.alerts()] == ["the deployment was deleted"]
    assert found.monitor.phase == "watching"
    found.wait(400)
    assert told(hook)[-1][0] == "resolved"
    assert (found.monitor.phase, found.monitor.due_at) == ("ended", None)


def test_without_sections_there_is_no_monitor_and_without_receivers_alerts_are_rows(scene: Make) -> None:
    bare = scene()
    with pytest.raises(NotFound):
        _ = bare.monitor
    found = scene(alerts=[{**RULE, "when": "error_rate > 2%"}])
    found.measure(0.05)
    assert len(found.alerts("firing")) == 1
    found.change()
    found.wait(60)
    assert found.monitor.phase == "idle"
    assert found.alerts("firing") == []


def test_receivers_get_what_is_theirs(scene: Make, hook: Receiver) -> None:
    receivers = {
        "grave": {"webhook": f"{hook.url}/grave", "severities": ["critical"]},
        "named": {"webhook": f"{hook.url}/named"},
        "all": {"webhook": f"{hook.url}/all"},
    }
    rules = [
        {"when": "error_rate > 2%", "name": "grave", "severity": "critical", "send": ["grave", "all"]},
        {"when": "requests > 10", "name": "light", "severity": "info"},
        {"when": "error_rate > 1%", "name": "same-signal", "severity": "warning"},
    ]
    found = scene(alerts=rules, notify={"receivers": receivers})
    found.measure(0.05)
    found.wait(30)
    got = sorted((m.path, tuple(a["name"] for a in m.json["alerts"])) for m in hook.got)
    assert got == [("/all", ("grave",)), ("/all", ("light",)), ("/grave", ("grave",)), ("/named", ("light",))]
    withheld = found.monitor.status["withheld"]
    assert [one["kind"] for one in withheld.values()] == ["inhibited"], "a graver alert speaks of the same signal"


def test_silences(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[{**RULE, "when": "error_rate > 2%"}], notify=ops(hook))
    made = silence(found.world, [matcher_of("alert=err*"), matcher_of("severity=critical")], 600.0, who="user a", why="known")
    found.measure(0.05)
    found.wait(60)
    assert hook.got == []
    assert [one["by"] for one in found.monitor.status["withheld"].values()] == [made.id]
    found.wait(540)
    found.measure(0.05)
    found.wait(15)
    assert told(hook) == [("firing", [("errors", "firing", True)])], "it is told once the silence is over"
    assert silences(found.world) == []
    again = silence(found.world, [matcher_of("deployment=m")], 600.0, who="user a", why="again")
    assert unsilence(found.world, again.id.removeprefix("silence-")[:19], who="user b").id == again.id
    assert silences(found.world) == []
    with pytest.raises(NotFound):
        unsilence(found.world, again.id, who="user b")
    with pytest.raises(BadInput):
        silence(found.world, [], 10.0, who="", why="")
    actions = [entry.action for entry in found.bench.store.audit.list()]
    assert actions == ["alert.silence", "alert.silence", "alert.unsilence"]


def test_alerts_that_others_raise(scene: Make, hook: Receiver) -> None:
    found = scene(notify=ops(hook))
    first = raise_alert(found.world, "m", "rollout", "warning", "version 3 went back", {"error_rate": 0.2})
    again = raise_alert(found.world, "m", "rollout", "warning", "version 3 went back twice", {"error_rate": 0.3})
    assert first.id == again.id
    found.wait(15)
    assert hook.got[0].json["alerts"][0]["message"] == "version 3 went back twice"
    assert hook.got[0].json["alerts"][0]["evidence"] == ["error_rate: 0.3"]
    assert resolve_alert(found.world, "m", "rollout", "all is well")
    assert not resolve_alert(found.world, "m", "rollout")
    found.wait(400)
    assert told(hook)[-1] == ("resolved", [("rollout", "resolved", False)])
    assert raise_alert(found.world, "m", "rollout", "critical", "again").id != first.id
    assert [e.type for e in found.events(first)] == ["alert.fired", "alert.changed", "alert.told", "alert.resolved", "alert.told"]
    with pytest.raises(NotFound):
        raise_alert(found.world, "nobody", "rollout", "critical", "again")


def test_a_receiver_that_fails_is_tried_again_with_the_same_id_until_it_takes_it(scene: Make, hook: Receiver) -> None:
    found = scene(alerts=[{**RULE, "when": "error_rate > 2%"}], notify=ops(hook))
    hook.answer = lambda _: (503, b"busy", {}) if len(hook.got) < 4 else (200, b"", {})
    found.measure(0.05)
    found.wait(120)
    assert len({m.json["id"] for m in hook.got}) == 1
    assert len(hook.got) == 4
    assert {m.headers["idempotency-key"] for m in hook.got} == {hook.got[0].json["id"]}
    kinds = [e.type for e in found.events(found.monitor)]
    assert kinds == ["message.failed", "message.sent"], "a streak of failures is told once"
    assert "answered 503: busy" in found.events(found.monitor)[0].message


def test_the_deployments_reconciler_makes_it_and_a_new_wish_wakes_it(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    deploy = {"scale": {"min": 1}, "alerts": [RULE], "monitor": None, "notify": None}
    desired_deployment(world, "m", "m", 1, deploy, {}, principal="test")
    row = get_deployment(world, "m")
    assert row.spec["deploy"]["alerts"] == [RULE]
    for _ in range(2):
        assert world.store.resources.take("deployment", row.id, world.owner, LEASE_S)
        DeploymentReconciler().reconcile(get_deployment(world, "m"), world)
    made = world.store.resources.find("monitor", "m")
    assert made is not None
    assert made.spec["deployment_id"] == row.id
    assert made.due_at == bench.clock.now()


SECTIONS = {"alerts": [{"when": "error_rate > 2%", "name": "errors", "clear_after": 60}], "monitor": {"window": 60}}
POINTS = st.lists(st.tuples(st.integers(1, 14), st.sampled_from([0.0, 0.5])), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(POINTS)
def test_killed_anywhere_it_comes_to_the_same_end(scene: Make, points: list[tuple[int, float]]) -> None:
    """Each minute a value comes and the process dies at a random point around its writes. In the end alerts are those of the signals."""
    found = scene(**SECTIONS)
    expected, fires = list[str](), False
    for crash_at, value in points:
        found.bench.clock.sleep(60.0)
        now = found.bench.clock.now()
        found.bench.store.signals.append([Signal("m", "error_rate", now, value, 500.0)])
        found.restart(crash_at)
        with contextlib.suppress(Crash):
            found.settle()
        found.bench.clock.sleep(LEASE_S + 1)
    found.restart()
    found.settle()
    quiet = 0
    for _, value in points:
        quiet = 0 if value else quiet + 1
        if value and not fires:
            expected, fires = [*expected, "firing"], True
        elif fires and quiet >= 2:
            expected, fires = [*expected[:-1], "resolved"], False
    rows = sorted(found.alerts(), key=lambda row: row.status["since"])
    assert [row.phase for row in rows] == expected
    for row in rows:
        kinds = [event.type for event in found.events(row) if event.type != "alert.explained"]
        assert kinds == ["alert.fired"] + (["alert.resolved"] if row.phase == "resolved" else [])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 14), min_size=1, max_size=6))
def test_killed_anywhere_every_message_arrives(scene: Make, hook: Receiver, crashes: list[int]) -> None:
    hook.got.clear()
    found = scene(**SECTIONS, notify=ops(hook))
    found.measure(0.5)
    for crash_at in crashes:
        found.restart(crash_at)
        with contextlib.suppress(Crash):
            found.wait(10)
        found.bench.clock.sleep(LEASE_S + 70)
        found.bench.store.signals.append([Signal("m", "error_rate", found.bench.clock.now(), 0.5, 500.0)])
    found.restart()
    found.wait(60)
    ids = {m.json["id"] for m in hook.got}
    assert len(ids) == 1, "sent again at most under the same id"
    found.measure(0.0, 0.0)
    found.wait(330)
    assert told(hook)[-1] == ("resolved", [("errors", "resolved", False)])
    assert found.monitor.status["lines"] == {} or found.monitor.status["lines"]["ops/other"]["told"] == []


@pytest.mark.postgres
def test_the_same_on_postgresql_where_two_processes_take_turns(scene: Make, hook: Receiver, postgres_url: str) -> None:
    found = scene()
    found.bench.store.close()
    home = replace(found.bench.home, database_url=postgres_url)
    found.bench.home, found.bench.store = home, Store.open(home, found.bench.clock)
    found = scene_of(found.bench, alerts=[{**RULE, "when": "error_rate > 2%"}], notify=ops(hook))
    other = Scene(found.bench, found.deployment, found.bench.world())
    for turn in range(6):
        (found if turn % 2 else other).measure(0.05)
    raise_alert(other.world, "m", "by-hand", "critical", "look")
    for turn in range(8):
        (found if turn % 2 else other).wait(60)
    assert told(hook)[0] == ("firing", [("errors", "firing", True)])
    assert sorted(told(hook)[1][1]) == [("by-hand", "firing", True), ("errors", "firing", False)]
    assert len(hook.got) == 2
    assert resolve_alert(found.world, "m", "by-hand")
    found.measure(0.0, 0.0, 0.0)
    other.wait(400)
    assert {(name, status) for name, status, _ in told(hook)[-1][1]} <= {("by-hand", "resolved"), ("errors", "resolved")}
    assert found.alerts("firing") == []
