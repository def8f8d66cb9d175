"""Alerts as resources: made when a rule fires or somebody raises one, ended when it clears. Their rows and events stay.

A row's spec says what it is about and what people did with it, its status what was measured and who was told. Phases: firing → resolved.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from penstock.control.alerts.words import brief, clock, summary
from penstock.control.world import LEASE_S, World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import Conflict, NotFound
from penstock.core.ids import new_id
from penstock.monitoring.alerting.course import Turn
from penstock.monitoring.alerting.judging import Fact, signals_of
from penstock.monitoring.alerting.readings import WHOLE, Part
from penstock.monitoring.alerting.rules import Rule
from penstock.monitoring.alerting.standing import Standing
from penstock.spec.react import Severity
from penstock.store.resources import Resource

MOST = 1000  # alerts of one deployment that fire at once


def open_alerts(world: World, deployment: str, deployment_id: str) -> list[Resource]:
    """Those of it that fire, newest first."""
    found = world.store.resources.list("alert", name=deployment, phase="firing", limit=MOST)
    return [row for row in found if row.spec["deployment_id"] == deployment_id]


def standing_of(row: Resource) -> Standing:
    spec = row.spec
    return Standing(
        row.id,
        spec["alert"],
        spec["severity"],
        labels_of(row),
        tuple(spec["signals"]),
        tuple(spec["send"]),
        spec["repeat_s"],
        acked=bool(spec.get("acked")),
    )


def labels_of(row: Resource) -> dict[str, str]:
    """What matchers of silences, and receivers that know labels, see of it."""
    spec = row.spec
    named = {"deployment": spec["deployment"], "alert": spec["alert"], "severity": spec["severity"]}
    named |= {"signal": spec["signals"][0] if spec["signals"] else "", "version": spec["version"], "slice": spec["slice"]}
    return {name: value for name, value in named.items() if value}


def alert_id(deployment: Resource, rule: str, part: Part, since: float) -> str:
    """The id of what a rule fired on a part from the instant on that its condition held: the same however often it is worked out."""
    return f"alert-{hex_of(digest_json([deployment.id, rule, *part, since]))[:16]}"


def fire(world: World, deployment: Resource, rule: Rule, turn: Turn) -> Resource:
    """The alert of a rule that fired; made once however often it is asked for."""
    version, part = turn.part
    ident = alert_id(deployment, rule.key, turn.part, turn.since)
    facts = turn.judgement.facts
    about = {"condition": rule.watch.text, "version": version, "slice": part, "signals": list(signals_of(rule.watch))}
    spec = _spec(deployment, rule.key, rule.severity, **about, send=list(rule.send), repeat_s=rule.repeat_s)
    told = summary(facts, version, part, turn.at - turn.since)
    return _made(world, deployment, ident, spec, _status(told, turn.since, turn.at, facts))


def fire_missing(world: World, deployment: Resource, newest: float) -> Resource:
    """The alert that signals have stopped after `newest`: others cannot be trusted while it fires."""
    spec = {**_spec(deployment, "signals-missing", "warning"), "missing": True}
    message = f"no signal was measured since {clock(newest)}: other alerts neither fire nor clear; is the watcher running?"
    ident = alert_id(deployment, "signals-missing", WHOLE, newest)
    return _made(world, deployment, ident, spec, _status(message, newest, world.clock.now(), ()))


def raise_alert(
    world: World,
    deployment: str,
    name: str,
    severity: Severity,
    message: str,
    evidence: Mapping[str, Any] | None = None,
) -> Resource:
    """An alert that no rule makes: it fires until resolve_alert ends it, and goes to the deployment's receivers like any other.

    Raised again while it fires it is the same alert, with the newer message and evidence. Raises NotFound.
    """
    with _alone(world, deployment) as row:
        held = next((one for one in open_alerts(world, deployment, row.id) if one.spec["raised"] and one.spec["alert"] == name), None)
        now = world.clock.now()
        since = held.status["since"] if held is not None else now
        status = {**_status(message, since, since, ()), "evidence": brief(dict(evidence or {}))}
        if held is None:
            spec = {**_spec(row, name, severity), "raised": True}
            return _made(world, row, new_id("alert", now), spec, status)
        if held.spec["severity"] != severity:
            held = world.store.resources.set_spec("alert", held.id, {**held.spec, "severity": severity})
        if {name: held.status.get(name) for name in status} != status:
            _save(world, held, {**held.status, **status}, "firing")
            world.store.events.add("alert", held.id, "alert.changed", message, status["evidence"])
        return world.store.resources.get("alert", held.id)


def resolve_alert(world: World, deployment: str, name: str, why: str = "it is over") -> bool:
    """Ends what raise_alert raised; False when nothing of that name fires. Raises NotFound."""
    with _alone(world, deployment) as row:
        held = [one for one in open_alerts(world, deployment, row.id) if one.spec["raised"] and one.spec["alert"] == name]
        for one in held:
            end(world, one, world.clock.now(), why)
        return bool(held)


def end(world: World, row: Resource, at: float, why: str) -> None:
    """Marks an alert as over; once."""
    if row.phase == "resolved":
        return
    _save(world, row, {**row.status, "resolved_at": at, "why": why}, "resolved")
    world.store.events.add("alert", row.id, "alert.resolved", why, {"at": at})


def change(world: World, row: Resource, **status: Any) -> None:
    """Puts fields into the status of an alert."""
    if any(row.status.get(name) != value for name, value in status.items()):
        _save(world, row, {**row.status, **status}, row.phase)


def asks_for_monitor(spec: Mapping[str, Any]) -> bool:
    """Whether a deployment's spec has anything that a monitor does."""
    return any(spec.get("deploy", {}).get(section) for section in ("monitor", "alerts", "notify", "react"))


def monitor_id(deployment: Resource) -> str:
    return f"monitor-{deployment.id}"


def follow_deployment(world: World, deployment: Resource, *, always: bool = False) -> None:
    """Makes the monitor of a deployment, or has it look now. `always`: also where the file asks for none."""
    try:
        world.store.resources.wake("monitor", monitor_id(deployment))
    except NotFound:
        if always or asks_for_monitor(deployment.spec):
            about = {"deployment": deployment.name, "deployment_id": deployment.id}
            with contextlib.suppress(Conflict):  # another process was faster
                world.store.resources.create("monitor", deployment.name, about, id=monitor_id(deployment))


@contextlib.contextmanager
def _alone(world: World, deployment: str) -> Iterator[Resource]:
    """The deployment's row, in a transaction in which nobody else raises or ends its alerts; its monitor looks afterwards."""
    with world.store.database.begin() as connection:
        world.store.database.serialize(connection, f"alerts/{deployment}")
        row = world.store.resources.find("deployment", deployment)
        if row is None:
            raise NotFound(f"no deployment is called {deployment!r}")
        yield row
        follow_deployment(world, row, always=True)


def _spec(deployment: Resource, alert: str, severity: Severity, **about: Any) -> dict[str, Any]:
    """`about`: condition, version, slice, signals, send, repeat_s, where the alert has them."""
    whole: dict[str, Any] = {"condition": None, "version": "", "slice": "", "signals": [], "send": [], "repeat_s": 4 * 3600.0}
    return {
        "deployment": deployment.name,
        "deployment_id": deployment.id,
        "alert": alert,
        "severity": severity,
        **whole,
        **about,
        "raised": False,
        "missing": False,
        "acked": None,
    }


def _status(message: str, since: float, fired_at: float, facts: Sequence[Fact]) -> dict[str, Any]:
    told = [{**asdict(one), "evidence": brief(dict(one.evidence or {}))} for one in facts]
    return {"message": message, "since": since, "fired_at": fired_at, "facts": told, "evidence": {}}


def _made(world: World, deployment: Resource, ident: str, spec: Mapping[str, Any], status: Mapping[str, Any]) -> Resource:
    whole = {**status, "resolved_at": None, "why": None, "causes": None, "told": {}}
    try:
        made = world.store.resources.create("alert", deployment.name, spec, id=ident, phase="firing", status=whole, due_at=None)
    except Conflict:
        return world.store.resources.get("alert", ident)
    world.store.events.add("alert", ident, "alert.fired", status["message"], {name: status[name] for name in ("facts", "evidence")})
    return made


def _save(world: World, row: Resource, status: Mapping[str, Any], phase: str) -> None:
    resources = world.store.resources
    if not resources.take("alert", row.id, world.owner, LEASE_S):
        raise Conflict(f"alert {row.id} is being changed by somebody else")
    resources.save("alert", row.id, world.owner, status=status, phase=phase, due_at=None)
    resources.release("alert", row.id, world.owner)
