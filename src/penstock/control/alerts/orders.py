"""What people do with alerts: look, take one, silence, try a receiver, ask for causes. Each opens the store and closes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.control.alerts.explaining import LEAST_BEFORE_S, TIMES_BEFORE, signal_of
from penstock.control.alerts.notify.contract import Item, Message
from penstock.control.alerts.notify.delivery import deliver
from penstock.control.alerts.rows import labels_of, open_alerts, resolve_alert
from penstock.control.alerts.silences import silence, silences, unsilence
from penstock.control.delivery import opened_world
from penstock.control.deployments import get_deployment
from penstock.control.explain import Span, explain
from penstock.control.policy import watching_of
from penstock.control.world import World, principal
from penstock.core.errors import BadInput, NotDelivered, NotFound, PenstockError
from penstock.core.ids import new_id
from penstock.monitoring.alerting.standing import matcher_of
from penstock.store.resources import Resource

HALF_AN_HOUR_S = 1800.0
_ABOUT = ("deployment", "alert", "severity", "condition", "version", "slice", "acked")
_SEEN = ("message", "since", "fired_at", "resolved_at", "why", "told", "facts", "evidence", "causes")


def list_alerts(deployment: str | None, *, everything: bool, limit: int) -> dict[str, Any]:
    """Alerts that fire, or all, newest first; conditions that hold but not for long enough yet; silences in force."""
    with opened_world() as world:
        rows = world.store.resources.list("alert", name=deployment, phase=None if everything else "firing", limit=limit)
        monitors = world.store.resources.list("monitor", name=deployment, limit=1000)
        withheld = {ident: one for monitor in monitors for ident, one in monitor.status.get("withheld", {}).items()}
        pending = [
            {"deployment": monitor.name, **{name: state[name] for name in ("rule", "version", "slice", "since")}}
            for monitor in monitors
            if monitor.phase != "ended"
            for state in monitor.status.get("states", ())
            if state["phase"] == "pending"
        ]
        quiet = [one.as_json() for one in silences(world)]
        return {"alerts": [{**alert_row(row), "withheld": withheld.get(row.id)} for row in rows], "pending": pending, "silences": quiet}


def show_alert(ident: str) -> dict[str, Any]:
    """An alert with everything that happened to it. Raises NotFound."""
    with opened_world() as world:
        row = find_alert(world, ident)
        events = [{"at": e.at, "type": e.type, "message": e.message} for e in world.store.events.list("alert", row.id)]
        return {"alert": alert_row(row), "events": events}


def ack_alert(ident: str, note: str | None) -> dict[str, Any]:
    """Somebody has taken it: it is not repeated any more. Audited. Raises NotFound, BadInput when it is over."""
    with opened_world() as world:
        row, who = find_alert(world, ident), principal()
        if row.phase != "firing":
            raise BadInput(f"{row.id} is over: {row.status.get('why')}")
        taken = {"by": who, "at": world.clock.now(), "note": note}
        with world.store.database.begin():
            made = world.store.resources.set_spec("alert", row.id, {**row.spec, "acked": taken})
            world.store.events.add("alert", row.id, "alert.acked", f"{who} has taken it" + (f": {note}" if note else ""), taken)
            world.store.audit.append(who, "alert.ack", row.id, {"note": note})
        return alert_row(made)


def resolve(ident: str, note: str | None) -> dict[str, Any]:
    """Ends an alert that somebody or something raised. Audited. Raises NotFound, BadInput for one that ends by itself."""
    with opened_world() as world:
        row, who = find_alert(world, ident), principal()
        if not row.spec["raised"]:
            raise BadInput(f"{row.id} ends when its condition no longer holds", remedy="Take it (`alerts ack`) or silence it.")
        world.store.audit.append(who, "alert.resolve", row.id, {"note": note})
        resolve_alert(world, row.spec["deployment"], row.spec["alert"], f"{who} says that it is over" + (f": {note}" if note else ""))
        return alert_row(world.store.resources.get("alert", row.id))


def silence_alerts(matchers: Sequence[str], for_s: float, why: str) -> dict[str, Any]:
    """Raises BadInput."""
    with opened_world() as world:
        made = silence(world, [matcher_of(text) for text in matchers], for_s, who=principal(), why=why)
        rows = world.store.resources.list("alert", phase="firing", limit=1000)
        taken = [row.id for row in rows if made.takes(labels_of(row), world.clock.now())]
        return {**made.as_json(), "alerts": taken}


def end_silence(ident: str) -> dict[str, Any]:
    with opened_world() as world:
        return unsilence(world, ident, who=principal()).as_json()


def send_test(deployment: str, receiver: str | None) -> dict[str, Any]:
    """A message that says that it is a test, to one receiver or all; each with what went wrong. Raises NotFound, NotDelivered."""
    with opened_world() as world:
        row = get_deployment(world, deployment)
        receivers = watching_of(row.spec).notify.receivers
        if receiver is not None and receiver not in receivers:
            raise NotFound(f"{deployment} has no receiver {receiver!r} (there are: {', '.join(receivers) or 'none'})")
        if not receivers:
            raise NotFound(f"{deployment} has no receivers", remedy="Name some under `notify.receivers` of the file and run it.")
        message = _test_message(world, row)
        found = {name: _tried(one, message) for name, one in receivers.items() if receiver in (None, name)}
        if receiver is not None and (error := found[receiver]) is not None:
            raise NotDelivered(f"{receiver} {error}")
        return {"deployment": deployment, "message": message.id, "receivers": [{"name": n, "error": e} for n, e in found.items()]}


def explain_signal(deployment: str, signal: str | None, since_s: float | None, before_s: float | None) -> dict[str, Any]:
    """Why a signal is what it is: of an alert that fires, since it began; else of the last half hour. Raises NotFound, BadInput."""
    with opened_world() as world:
        row, now = get_deployment(world, deployment), world.clock.now()
        fires = [alert for alert in open_alerts(world, row.name, row.id) if signal in (None, signal_of(alert)) and signal_of(alert)]
        about = signal or (signal_of(fires[0]) if fires else None) or "error_rate"
        window = watching_of(row.spec).monitor.window
        began = now - since_s if since_s is not None else fires[0].status["since"] - window if fires else now - HALF_AN_HOUR_S
        long = before_s if before_s is not None else max(TIMES_BEFORE * (now - began), LEAST_BEFORE_S)
        found = explain(world.home.gateway, row.name, about, Span(began - long, began), Span(began, now))
        return {**found, "alert": fires[0].id if fires else None}


def find_alert(world: World, text: str) -> Resource:
    """By id, by the beginning of an id, or by its rule's name (the newest). Raises NotFound."""
    rows = world.store.resources.list("alert", limit=1000)
    begins = [row for row in rows if row.id.removeprefix("alert-").startswith(text.removeprefix("alert-"))]
    for match in ([row for row in rows if row.id == text], begins, [row for row in rows if row.spec["alert"] == text][:1]):
        if len(match) == 1:
            return match[0]
        if match:
            raise NotFound(f"{text!r} begins {len(match)} alerts, such as {match[0].id} and {match[1].id}", remedy="Write more of the id.")
    raise NotFound(f"no alert is called {text!r}", remedy="List them with `penstock alerts list --all`.")


def alert_row(row: Resource) -> dict[str, Any]:
    about, seen = {name: row.spec[name] for name in _ABOUT}, {name: row.status.get(name) for name in _SEEN}
    return {"id": row.id, **about, "phase": row.phase, **seen}


def _test_message(world: World, deployment: Resource) -> Message:
    now, ident = world.clock.now(), new_id("test", world.clock.now())
    labels = {"deployment": deployment.name, "alert": "test", "severity": "info"}
    item = Item(ident, "test", "firing", "info", f"{principal()} sent this to see whether it arrives", labels, now, fresh=True)
    group = f"{deployment.name}/test"
    return Message(ident, group, deployment.name, "firing", "info", (item,), now, deployment.status.get("url"), test=True)


def _tried(receiver: Any, message: Message) -> str | None:
    try:
        deliver(receiver, message)
    except PenstockError as error:
        return error.message
    return None
