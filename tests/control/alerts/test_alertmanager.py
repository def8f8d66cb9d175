"""A real Alertmanager: it takes our alerts, routes them by their labels, inhibits, and lets them go when we say that they are over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.control.alerts.notify.contract import Item, Message
from penstock.control.alerts.notify.delivery import deliver
from penstock.spec.react import Receiver as Section
from penstock.testing.alerts import Scene
from penstock.testing.plain import PLAIN
from penstock.testing.prometheus import ALERTMANAGER, NO_ALERTMANAGER, alertmanager
from penstock.testing.receivers import Receiver
from penstock.testing.serving import wait_for

pytestmark = pytest.mark.skipif(ALERTMANAGER is None, reason=NO_ALERTMANAGER)
CONFIG = """
route:
  receiver: other
  group_by: [deployment]
  group_wait: 100ms
  group_interval: 1s
  routes: [{{receiver: grave, matchers: ['severity="critical"', 'source="penstock"']}}]
receivers:
  - {{name: grave, webhook_configs: [{{url: '{url}/grave', send_resolved: true}}]}}
  - {{name: other, webhook_configs: [{{url: '{url}/other', send_resolved: true}}]}}
"""


@pytest.fixture(name="alertmanager")
def running(hook: Receiver, tmp_path: Path) -> Iterator[str]:
    with alertmanager(tmp_path, CONFIG.format(url=hook.url)) as url:
        yield url


def alerts(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{url}/api/v2/alerts", **PLAIN).json()
    return found


def item(name: str, severity: Any, **more: Any) -> Item:
    import time

    labels = {"deployment": "support", "alert": name, "severity": severity, "version": "3"}
    told = {"status": "firing", "fired_at": time.time() - 60, "causes": ("replica r3: 97 % of it",)}
    return Item(**{"id": name, "name": name, "severity": severity, "message": "error_rate is 7 %", "labels": labels, **told, **more})


def message(*items: Item) -> Message:
    import time

    return Message("m1", "support/critical", "support", items[0].status, items[0].severity, items, time.time(), "http://gateway:1/")


def test_it_routes_and_resolves_for_real(alertmanager: str, hook: Receiver) -> None:
    import time

    section = Section(alertmanager=alertmanager)
    deliver(section, message(item("errors", "critical"), item("slow", "warning")))
    wait_for(lambda: {got.path for got in hook.got} == {"/grave", "/other"}, 15, "the routes")
    grave = next(got.json for got in hook.got if got.path == "/grave")
    (told,) = grave["alerts"]
    assert told["labels"] == {"alertname": "errors", "deployment": "support", "severity": "critical", "version": "3", "source": "penstock"}
    assert told["annotations"] == {"summary": "error_rate is 7 %", "description": "cause: replica r3: 97 % of it"}
    assert told["generatorURL"] == "http://gateway:1/"
    assert {one["labels"]["alertname"] for one in alerts(alertmanager)} == {"errors", "slow"}
    over = item("errors", "critical", status="resolved", resolved_at=time.time() - 1)
    deliver(section, message(over))
    wait_for(lambda: any(got.json["status"] == "resolved" for got in hook.got if got.path == "/grave"), 15, "the end")


def test_it_refuses_what_it_does_not_know(alertmanager: str) -> None:
    from penstock.core.errors import NotDelivered

    with pytest.raises(NotDelivered, match="answered 4"):
        deliver(Section(alertmanager=alertmanager), message(item("errors", "critical", labels={"not a name": "x"})))


def test_from_a_signal_to_its_page(scene: Callable[..., Scene], alertmanager: str, hook: Receiver) -> None:
    import time

    rule = {"when": "error_rate > 2%", "name": "errors", "severity": "critical"}
    found = scene(alerts=[rule], notify={"receivers": {"am": {"alertmanager": alertmanager, "group_wait": 0}}})
    found.bench.clock.jump(time.time() - found.bench.clock.now())
    found.measure(0.05)
    found.wait(70)
    wait_for(lambda: [got.path for got in hook.got] == ["/grave"], 15, "the page")
    assert hook.got[0].json["alerts"][0]["labels"]["alertname"] == "errors"
    sent = [event for event in found.events(found.monitor) if event.type == "message.sent"]
    assert len(sent) == 2, "it forgets in five minutes, so it is reminded every minute"
