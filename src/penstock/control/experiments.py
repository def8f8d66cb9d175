"""Experiments: a challenger gets a share of the requests until a sequential test says whether it is better.

The split is set by traffic.py and made sticky by the gateway; what became of requests comes from outcomes.py; the statistics are
monitoring/sequential.py, one outcome per session. Everything that was read lies in the row together with the cursor up to which it was, so
a crash loses and repeats nothing. An experiment whose split somebody else changed ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from penstock.control.contest import more, race_of
from penstock.control.contract import Again, Done, Outcome
from penstock.control.crowning import crown
from penstock.control.deployments import phase_of
from penstock.control.outcomes import LAG_S, Span, ended, measured, rewarded, seconds_of, session_of
from penstock.control.outcomes import Outcome as Seen
from penstock.control.policy import deploy_of
from penstock.control.recent import Recent, Row
from penstock.control.traffic import set_traffic
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.monitoring.ratio import check_ratio
from penstock.monitoring.sequential import Race, Reading, read
from penstock.monitoring.units import Units
from penstock.store.resources import Resource

LOOK_S = 2.0  # between looks
SOON_S = 0.2
BUSY, LONGEST_S = 20.0, 30.0  # looks take a twentieth of the time, unless that would be a longer pause
ENDED = ("decided", "undecided", "stopped")


class ExperimentReconciler:
    kind = "experiment"

    def __init__(self) -> None:
        self._recent: dict[str, Recent] = {}  # what is left to read again costs less with it; rows are right without

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass. Phases: pending → starting → running → concluding → decided (better or worse) or undecided; stopped by other hands."""
        if resource.phase in ENDED:
            return Done()
        status = dict(resource.status)
        deployment = world.store.resources.find("deployment", resource.spec["deployment"])
        if deployment is None or deployment.phase == "deleted" or deployment.spec.get("delete"):
            return _end(resource, status, "stopped", "the deployment was deleted", world)
        if not status.get("started"):
            return self._start(resource, status, world)
        if resource.phase == "concluding":
            return self._conclude(resource, status, deployment, world)
        if deployment.spec.get("experiment") != resource.id:
            self._recent.pop(resource.id, None)
            return _end(resource, status, "stopped", "the traffic was set by somebody else", world)
        if deployment.status.get("experiment") != resource.id:
            if phase_of(deployment) == "failed":
                champion = {resource.spec["champion"]["version"]: 1.0}
                set_traffic(world, deployment.name, champion, principal=_me(resource))
                return _end(resource, status, "stopped", f"the challenger does not start: {deployment.status.get('error')}", world)
            return _save(resource, status, "starting", SOON_S, world)
        return self._look(resource, status, deployment, world)

    def _start(self, resource: Resource, status: dict[str, Any], world: World) -> Outcome:
        spec = resource.spec
        split = {spec["champion"]["version"]: 1 - spec["share"], spec["challenger"]["version"]: spec["share"]}
        try:
            set_traffic(world, spec["deployment"], split, principal=_me(resource), experiment=resource.id)
        except NotFound as error:
            return _end(resource, status, "stopped", str(error), world)
        status.update(started=True, since=world.clock.now())
        return _save(resource, status, "starting", SOON_S, world)

    def _look(self, resource: Resource, status: dict[str, Any], deployment: Resource, world: World) -> Outcome:
        """Reads what became of requests since the last look, and asks the test."""
        began, spec = time.monotonic(), resource.spec
        cursor = status.get("cursor")
        if cursor is None:
            status["cursor"] = status["began"] = world.clock.now()
            return _save(resource, status, "running", LAG_S, world)
        span = Span(cursor, max(cursor, world.clock.now() - LAG_S), status["began"])
        recent = self._recent.setdefault(resource.id, Recent(world.home.gateway, resource.id))
        records = ended(recent, span, deploy_of(deployment.spec).protect.timeout)
        reward = spec["metric"] == "reward"
        outcomes = rewarded(recent, span) if reward else measured(records, spec["metric"])
        status.update(_learnt(spec, status, records, outcomes), cursor=span.until)
        reading = read(Race.parse(status["race"]), spec["confidence"])
        status.update(verdict=reading.verdict, reading=_shown(reading, spec["metric"]))
        if reading.verdict != "undecided":
            return _save(resource, status, "concluding", 0.0, world)
        if spec.get("stop_after") and sum(status["requests"].values()) >= spec["stop_after"]:
            return _save(resource, status, "concluding", 0.0, world)
        return _save(resource, status, "running", min(max(LOOK_S, BUSY * (time.monotonic() - began)), LONGEST_S), world)

    def _conclude(self, resource: Resource, status: dict[str, Any], deployment: Resource, world: World) -> Outcome:
        """Acts on the verdict: again from the start after a crash, each part of it idempotent."""
        self._recent.pop(resource.id, None)
        spec, better = resource.spec, status["verdict"] == "better"
        mine, mismatch = deployment.spec.get("experiment") == resource.id, status["ratio"]["mismatch"]
        done = "the traffic stays as it is"
        if spec["then"] == "switch" and mismatch:
            done = "the traffic stays: versions did not get the shares that they were meant to get, so the verdict cannot be trusted"
        elif spec["then"] == "switch" and mine:
            winner = spec["challenger" if better else "champion"]["version"]
            if better:
                crown(world, spec["model"], spec["champion"]["version"], spec["challenger"]["version"], _me(resource))
            set_traffic(world, deployment.name, {winner: 1.0}, principal=_me(resource))
            done = f"version {winner} gets all requests"
        status["action"] = done
        message = f"{_told(spec, status)}; {done}"
        world.store.events.add("deployment", deployment.id, "experiment.verdict", message, {"experiment": resource.id, **status["reading"]})
        phase = "undecided" if status["verdict"] == "undecided" else "decided"
        return _end(resource, status, phase, message, world)


def _learnt(spec: Mapping[str, Any], status: Mapping[str, Any], records: list[Row], outcomes: list[Seen]) -> dict[str, Any]:
    """The test, the shares and the counts after what was read now."""
    challenger = str(spec["challenger"]["version"])
    known = {str(spec["champion"]["version"]), challenger}
    exposed = Units.parse(status.get("exposed"))
    units, requests = dict(status.get("units") or dict.fromkeys(known, 0)), dict(status.get("requests") or dict.fromkeys(known, 0))
    for record in records:
        if record["version"] in known:
            requests[record["version"]] += 1
            units[record["version"]] += exposed.admit(session_of(record))
    champion = next(iter(known - {challenger}))
    contest = more(status, outcomes, (champion, challenger), spec["share"])
    race = race_of(contest)
    return {
        **contest,
        "exposed": exposed.as_json(),
        "units": units,
        "requests": requests,
        "outcomes": {champion: race.a[0], challenger: race.b[0]},
        "ratio": asdict(check_ratio(units[champion], units[challenger], spec["share"])),
    }


def _shown(reading: Reading, metric: str) -> dict[str, Any]:
    """JSON values: no NaN. Latency is told in seconds (geometric means) and as a ratio of challenger to champion."""
    shown: dict[str, Any] = {k: None if v != v else v for k, v in asdict(reading).items()}
    shown["metric"] = metric
    if metric == "latency" and shown["effect"] is not None:
        shown["champion_s"], shown["challenger_s"] = seconds_of(reading.a_mean), seconds_of(reading.b_mean)
        unit = seconds_of(0.0) / seconds_of(1.0)
        shown["ratio"] = [unit**-effect for effect in (reading.effect, reading.high, reading.low)]
    return shown


def _told(spec: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    reading, model = status["reading"], spec["model"]
    pair = f"{model}:{spec['challenger']['version']} against {model}:{spec['champion']['version']}"
    if reading["effect"] is None:
        return f"{pair}: nothing was seen"
    if "ratio" in reading:
        best, low, high = reading["ratio"]
        return f"{pair}: {status['verdict']} by latency: {best:.3g} times as long ({low:.3g} to {high:.3g})"
    says = f"{reading['effect']:+.3f} ({reading['low']:+.3f} to {reading['high']:+.3f})"
    return f"{pair}: {status['verdict']} by {spec['metric']}: {says} at {spec['confidence']:.0%}"


def _me(resource: Resource) -> str:
    return f"experiment {resource.id}"


def _end(resource: Resource, status: dict[str, Any], phase: str, reason: str, world: World) -> Outcome:
    # What the test needed to go on is of no use any more.
    kept = {k: v for k, v in status.items() if k not in ("race", "exposed", "counted")}
    kept.update(reason=reason, ended_at=world.clock.now())
    world.store.resources.save(resource.kind, resource.id, world.owner, status=kept, phase=phase, due_at=None)
    return Done()


def _save(resource: Resource, status: dict[str, Any], phase: str, after_s: float, world: World) -> Outcome:
    due = world.clock.now() + after_s
    world.store.resources.save(resource.kind, resource.id, world.owner, status=status, phase=phase, due_at=due)
    return Again(after_s)
