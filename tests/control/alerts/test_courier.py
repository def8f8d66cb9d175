"""Errands in threads: a receiver that hangs holds up neither the loop nor others, and secrets show in no sink."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from penstock.control.alerts.courier import Courier
from penstock.control.alerts.monitors import MonitorReconciler
from penstock.control.loop import reconcilers, tick
from penstock.core.errors import BadInput, NotDelivered
from penstock.testing.alerts import Scene
from penstock.testing.receivers import Receiver
from penstock.testing.serving import wait_for

Make = Callable[..., Scene]
RULE = {"when": "error_rate > 2%", "name": "errors", "severity": "critical"}


def raising(error: Exception) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_what_becomes_of_errands(capfd: pytest.CaptureFixture[str]) -> None:
    courier, over = Courier(), list[str]()
    assert courier.take("a") is None
    for name, work in {
        "a": lambda: None,
        "b": raising(NotDelivered("no", hopeless=True, after_s=3.0)),
        "c": raising(BadInput("wrong")),
        "d": raising(KeyError("a defect")),
    }.items():
        assert courier.start(name, work, lambda name=name: over.append(name))  # type: ignore[misc]
    wait_for(lambda: sorted(over) == ["a", "b", "c", "d"], 5, "the errands")
    assert courier.take("a").error is None  # type: ignore[union-attr]
    refused = courier.take("b")
    assert (refused.error, refused.hopeless, refused.after_s) == ("no", True, 3.0)  # type: ignore[union-attr]
    assert courier.take("c").hopeless  # type: ignore[union-attr]
    assert courier.take("d").error == "KeyError"  # type: ignore[union-attr]
    assert courier.take("d") is None, "once"
    assert "a defect" in capfd.readouterr().err


def test_one_that_hangs_is_given_up_and_leaves_room_for_others() -> None:
    courier = Courier(deadline_s=0.2, most=2)
    assert courier.start("a", lambda: time.sleep(1.5))
    assert not courier.start("a", lambda: None), "one of a name at a time"
    assert courier.busy("a")
    assert courier.start("b", lambda: None)
    wait_for(lambda: courier.take("b") is not None, 5, "the other one")
    wait_for(lambda: not courier.busy("a"), 5, "the deadline")
    assert courier.take("a").error == "no answer within 0 s"  # type: ignore[union-attr]
    assert courier.start("c", lambda: time.sleep(1.0))
    assert not courier.start("d", lambda: None), "threads that are left to themselves count"
    wait_for(lambda: courier.start("d", lambda: None), 5, "room")


def test_a_receiver_that_hangs_delays_neither_the_pass_nor_others(scene: Make, hook: Receiver) -> None:
    receivers = {"slow": {"webhook": f"{hook.url}/slow", "group_wait": 0}, "good": {"slack": f"{hook.url}/good", "group_wait": 0}}
    found = scene(alerts=[RULE], notify={"receivers": receivers})
    answer = hook.answer

    def slowly(got: Any) -> Any:
        if got.path == "/slow":
            time.sleep(3.0)
        return answer(got)

    hook.answer = slowly
    found.reconciler = MonitorReconciler()  # with real threads
    slowest = 0.0

    def passed() -> bool:
        nonlocal slowest
        found.bench.clock.sleep(0.2)
        began = time.monotonic()
        found.turn()
        slowest = max(slowest, time.monotonic() - began)
        return any(line["count"] for name, line in found.monitor.status["lines"].items() if name.startswith("good"))

    found.measure(0.05)
    wait_for(passed, 5, "the good one")
    assert slowest < 1.0
    assert [got.path for got in hook.got] == ["/slow", "/good"] or [got.path for got in hook.got] == ["/good", "/slow"]
    assert "slow/critical" in found.monitor.status["sending"]


def test_the_loop_knows_monitors(scene: Make) -> None:
    found = scene(alerts=[RULE])
    table = reconcilers()
    assert tick(found.world, table) == 0.0
    assert found.monitor.phase == "watching"
    assert found.monitor.due_at == pytest.approx(found.bench.clock.now() + 5.0)


def test_secrets_are_in_no_row_event_log_or_file(
    scene: Make, hook: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    planted = {"HOOK": f"{hook.url}/planted-secret-one", "TOKEN": "planted-secret-two", "KEY": "planted-secret-thr" + "x" * 14}
    for name, value in {**planted, "SIGN": "planted-secret-four", "BEAT": f"{hook.url}/planted-secret-five"}.items():
        monkeypatch.setenv(f"PENSTOCK_SECRET_{name}", value)
    receivers = {
        "a": {"slack": "${secret:HOOK}"},
        "b": {"webhook": {"url": hook.url, "headers": {"authorization": "${secret:TOKEN}"}, "sign": "${secret:SIGN}"}},
        "c": {"pagerduty": {"routing_key": "${secret:KEY}", "url": f"{hook.url}/pd"}},
        "d": {"alertmanager": "${secret:HOOK}"},
        "e": {
            "email": {"to": "a@b.c", "sender": "p@b.c", "server": "127.0.0.1:9", "tls": "none", "password": "${secret:TOKEN}", "user": "u"}
        },
    }
    hook.answer = lambda got: (400 if len(hook.got) < 9 else 200, got.body + str(got.headers).encode(), {})
    found = scene(alerts=[RULE], notify={"receivers": receivers, "heartbeat": {"url": "${secret:BEAT}"}})
    found.measure(0.05)
    found.wait(1800, 30.0)
    assert len({got.path for got in hook.got}) == 5, "every way was tried with its secret"
    found.bench.store.database.close()
    said = capfd.readouterr()
    sinks = {"stdout": said.out.encode(), "stderr": said.err.encode()}
    sinks |= {str(path): path.read_bytes() for path in found.bench.home.folder.rglob("*") if path.is_file()}
    assert any(b"[secret]" in data for data in sinks.values()), "a receiver did repeat one"
    assert [name for name, data in sinks.items() if b"planted-secret" in data] == []
