"""One pass over a rollout: make the deployment be what the state wishes, look at it and at the new version's requests, take the next step.

The state and all evidence lie in the row with the instant up to which requests were read, so a process that takes over repeats and loses
nothing. A wish is set again in each pass, which changes nothing where it stands.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.control.contract import Again, Done, Outcome
from penstock.control.crowning import crown
from penstock.control.deployments import phase_of
from penstock.control.outcomes import LAG_S, Span
from penstock.control.policy import deploy_of
from penstock.control.recent import Recent
from penstock.control.rollouts.conditions import conditions_of
from penstock.control.rollouts.contests import Contest, contest_of, shift
from penstock.control.rollouts.evidence import Evidence, Trial, errors_of, findings, gathered
from penstock.control.rollouts.machine import ENDED, Policy, Seen, State, Told, Wish, advance, wish
from penstock.control.rollouts.reading import Place, batch_of
from penstock.control.rollouts.stages import Stage, stages_of
from penstock.control.rollouts.wishes import confirmed, of_version, set_wish
from penstock.control.split import leading, split_of
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.spec.strategy import Strategy
from penstock.store.resources import Resource

LOOK_S, SOON_S = 1.0, 0.1
BUSY, LONGEST_S = 10.0, 30.0  # looks take a tenth of the time, unless that would be a longer pause
KIND = "rollout"


class RolloutReconciler:
    kind = KIND

    def __init__(self) -> None:
        self._recent: dict[str, Recent] = {}  # what is left to read again costs less with it; rows are right without

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass. Phases: those of machine.py."""
        if resource.phase in ENDED:
            return Done()
        status = dict(resource.status)
        state = State.parse(status.get("state", {}))
        deployment = world.store.resources.find("deployment", resource.spec["deployment"])
        if deployment is None or deployment.phase == "deleted" or deployment.spec.get("delete"):
            return self._save(
                resource, status, *advance((), _NEVER, state, Seen(world.clock.now(), taken="the deployment was deleted")), world
            )
        if state.phase == "pending" and (waits := _waits(resource, world)) is not None:
            return self._wait(resource, status, state, waits, world)
        if "old" not in status:
            status.update(_begin(resource, deployment))
        stages = stages_of(Strategy.model_validate(resource.spec["strategy"]), int(status["replicas"]))
        if status["old"]["version"] == resource.spec["new"]["version"] and state.phase == "pending":
            done = replace(state, phase="promoted", reason="it serves already", ended_at=world.clock.now())
            return self._save(resource, status, done, Told("rollout.promoted", done.reason), world)
        seen = self._seen(resource, status, stages, state, deployment, world)
        return self._save(resource, status, *advance(stages, _policy(resource), state, seen), world)

    def _seen(
        self, resource: Resource, status: dict[str, Any], stages: Sequence[Stage], state: State, deployment: Resource, world: World
    ) -> Seen:
        """Sets the wish, then looks. Writes what was learnt into `status`."""
        now, order = world.clock.now(), resource.spec.get("order", "")
        if state.phase == "pending":
            return Seen(now, order=order)
        if status.get("mine") and deployment.spec.get("experiment") != resource.id:
            return Seen(now, taken="the traffic was set by somebody else")
        asked = wish(stages, state)
        if state.phase == "running" and stages[state.stage].kind == "bandit":
            asked = replace(asked, share=float(status.get("share", asked.share)))
        try:
            deployment = set_wish(world, resource, status, asked)
        except NotFound as error:
            return Seen(now, taken=str(error))
        status["mine"] = True
        there, broken = confirmed(deployment, resource, status, asked), _broken(deployment, resource)
        seen = Seen(now, confirmed=there, broken=broken, order=order)
        if state.phase in ("running", "watching") and state.since is not None:
            return self._judged(resource, status, (stages, state, asked), deployment, seen, world)
        return seen

    def _judged(
        self,
        resource: Resource,
        status: dict[str, Any],
        at: tuple[Sequence[Stage], State, Wish],
        deployment: Resource,
        seen: Seen,
        world: World,
    ) -> Seen:
        """`seen` with what the new version's requests say in this stage."""
        (stages, state, asked), spec = at, resource.spec
        stage = stages[state.stage]
        assert state.since is not None
        conditions = conditions_of(spec["conditions"])
        evidence = Evidence(**status["evidence"]) if status.get("evidence", {}).get("stage") == state.stage else None
        evidence = evidence or Evidence(state.stage, state.since, state.since)
        recent = self._recent.setdefault(resource.id, Recent(world.home.gateway, resource.id))
        span = Span(evidence.cursor, max(evidence.cursor, world.clock.now() - LAG_S), evidence.began)
        drawn = asked.share if asked.shadow is None else asked.shadow / (1 + asked.shadow)  # of the outcomes that are compared
        trial = Trial(str(status["old"]["version"]), str(spec["new"]["version"]), min(max(drawn, 0.01), 0.99))
        place = Place(deployment.name, trial.new, deploy_of(deployment.spec).protect.timeout, float(status["began"]))
        batch = batch_of(place, recent, span, conditions, stage.kind == "shadow", world)
        evidence = replace(gathered(evidence, batch, conditions, trial), cursor=span.until)
        errors = errors_of(float(spec["strategy"].get("confidence", 0.95)), len(conditions), len(stages))
        status["evidence"] = evidence.as_json()
        found = findings(evidence, conditions, errors)
        status["findings"] = [{"condition": f.text, "verdict": f.verdict, "says": f.says} for f in found]
        seen = replace(seen, requests=evidence.requests, findings=found)
        if stage.kind not in ("compare", "bandit"):
            return seen
        known = status.get("contest") if (status.get("contest") or {}).get("stage") == state.stage else None
        contest: Contest = contest_of(known, batch, resource, trial, (state.stage, span), recent)
        status["contest"] = contest.state
        if stage.kind == "bandit":
            status["share"] = shift(contest, resource, float(status.get("share", asked.share)), world.clock.now())
        return replace(seen, contest=contest.verdict, contest_says=contest.says, contest_over=contest.over)

    def _save(self, resource: Resource, status: dict[str, Any], state: State, told: Told | None, world: World) -> Outcome:
        began = time.monotonic()
        before = resource.status.get("state", {}).get("phase")
        status["state"] = state.as_json()
        status["reason"] = state.reason
        ended = state.phase in ENDED
        with world.store.database.begin():
            if told is not None:
                world.store.events.add(KIND, resource.id, told.type, told.message, told.data)
                deployment = world.store.resources.find("deployment", resource.spec["deployment"])
                if deployment is not None:
                    message = f"{resource.spec['model']}:{resource.spec['new']['version']} {told.message}"
                    world.store.events.add("deployment", deployment.id, told.type, message, {"rollout": resource.id, **told.data})
            if state.phase == "watching" and before != "watching":
                crown(world, resource.spec["model"], status["old"]["version"], resource.spec["new"]["version"], f"rollout {resource.id}")
            if state.phase == "rolling_back" and before != "rolling_back":
                _dethrone(resource, status, world)
            if ended:
                self._recent.pop(resource.id, None)
                if status.get("mine") and state.phase != "stopped":
                    set_wish(world, resource, status, wish((), state))
                for gone in ("evidence", "contest"):  # what the tests needed to go on is of no use any more
                    status.pop(gone, None)
            pause = None if ended else _pause(before, state, time.monotonic() - began)
            due = None if pause is None else world.clock.now() + pause
            world.store.resources.save(KIND, resource.id, world.owner, status=status, phase=state.phase, due_at=due)
        return Done() if pause is None else Again(pause)

    def _wait(self, resource: Resource, status: dict[str, Any], state: State, waits: str, world: World) -> Outcome:
        if waits.startswith("a newer one"):
            ended = replace(state, phase="stopped", reason=waits, ended_at=world.clock.now())
            return self._save(resource, status, ended, Told("rollout.stopped", waits), world)
        status["reason"] = waits
        world.store.resources.save(KIND, resource.id, world.owner, status=status, phase="pending", due_at=world.clock.now() + LOOK_S)
        return Again(LOOK_S)


_NEVER = Policy(0.0, "wait", 0.0)


def _policy(resource: Resource) -> Policy:
    strategy = Strategy.model_validate(resource.spec["strategy"])
    return Policy(strategy.patience, strategy.undecided, strategy.keep_warm)


def _begin(resource: Resource, deployment: Resource) -> dict[str, Any]:
    """What is known at the start: who serves, and with how many replicas."""
    lead = leading(split_of(deployment.spec))
    assert lead is not None
    ready = of_version(deployment, lead.version)
    wanted = int((deployment.status.get("scaling") or {}).get("wanted") or deployment.spec["replicas"])
    return {"old": {"version": lead.version, "bundle": lead.bundle}, "replicas": max(ready, wanted, 1), "began": resource.created_at}


def _waits(resource: Resource, world: World) -> str | None:
    """Why it may not begin yet: one at a time, in order of their making, and only the newest of those that wait."""
    rows = [row for row in world.store.resources.list(KIND, name=resource.name) if row.phase not in ENDED and row.id != resource.id]
    if any((row.created_at, row.id) > (resource.created_at, resource.id) for row in rows if row.phase == "pending"):
        return "a newer one takes its place"
    active = next((row for row in rows if row.phase != "pending"), None)
    return f"it waits for {active.id}, which is {active.phase}" if active is not None else None


def _broken(deployment: Resource, resource: Resource) -> str | None:
    """Why the new version cannot serve, if so."""
    if phase_of(deployment) == "failed":
        return str(deployment.status.get("error"))
    version = str(resource.spec["new"]["version"])
    rows: Sequence[Mapping[str, Any]] = [r for r in deployment.status.get("replicas", ()) if r["version"] == version]
    failed = [row for row in rows if row["phase"] == "failed"]
    up = any(row["phase"] == "ready" for row in rows)
    return str(failed[0]["error"]) if failed and not up and phase_of(deployment) != "pending" else None


def _dethrone(resource: Resource, status: Mapping[str, Any], world: World) -> None:
    new, old = resource.spec["new"]["version"], status["old"]["version"] if "old" in status else None
    if old is not None:
        crown(world, resource.spec["model"], new, old, f"rollout {resource.id}")
    if world.store.registry.aliases(resource.spec["model"]).get("challenger") == new:
        world.store.registry.set_alias(resource.spec["model"], "challenger", None, f"rollout {resource.id}")


def _pause(before: str | None, state: State, spent_s: float) -> float:
    """At once after a step was taken; soon while replicas come up; else as often as looking is cheap."""
    if state.phase != before:
        return 0.0
    if state.phase in ("starting", "rolling_back"):
        return SOON_S
    return min(max(LOOK_S, BUSY * spent_s), LONGEST_S)
