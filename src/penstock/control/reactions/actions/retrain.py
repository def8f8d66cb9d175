"""`do: retrain`: new rows are gathered, the champion's pipeline is run with them beside the old ones, and its gates and roll-out decide.

The rows are an artifact, the run a row with this reaction as its cause: both are made once, whatever happens in between.
"""

from __future__ import annotations

import json
from typing import Any

from penstock.control.graph import CHAMPION_STEP
from penstock.control.preparing import plan_prepared, prepared, queue_run
from penstock.control.reactions import collect
from penstock.control.reactions.contract import Scene, Turn, TurnPhase
from penstock.control.reactions.retraining import HOLDOUT, MINIMUM, effect_of, origin_of, retrained, told
from penstock.control.split import leading, split_of
from penstock.control.state import RunState
from penstock.control.world import World
from penstock.core.errors import NotFound, PenstockError
from penstock.core.units import show_seconds
from penstock.spec.react import With
from penstock.store.registry import ModelVersion
from penstock.store.resources import Resource

LOOK_S, FEW_ROWS_S = 1.0, 60.0
_ENDS: dict[str, TurnPhase] = {"succeeded": "done", "refused": "refused", "rolled_back": "refused"}


class Retrain:
    def estimate_usd(self, world: World, deployment: Resource, given: With) -> float:  # noqa: ARG002 (the contract's signature)
        """Seconds that its steps took before, at the price of the platform; 0 where neither is known."""
        try:
            origin = origin_of(world.store, champion_of(world, deployment))
            plan = plan_prepared(prepared(origin.pipeline, origin.beside, origin.file, world), world)
        except PenstockError:
            return 0.0  # what is wrong is told when it acts
        known = [world.store.builds.durations(step.stage, step.name) for step in plan.steps]
        return sum(seconds[0] for seconds in known if seconds) / 3600 * _price(deployment)

    def act(self, scene: Scene) -> Turn:
        state = dict(scene.state)
        if "rows" not in state:
            return self._gathered(scene, state)
        if "run" not in state:
            return self._started(scene, state)
        return self._watched(scene, state)

    def _gathered(self, scene: Scene, state: dict[str, Any]) -> Turn:
        world, given = scene.world, scene.given
        champion = champion_of(world, scene.deployment)
        origin = origin_of(world.store, champion)
        until = world.clock.now()
        since = until - given.since if given.since is not None else champion.created_at
        found = collect.gather(world, scene.deployment.name, str(origin.pipeline.task), given.data or "captured+feedback", since, until)
        wanted = MINIMUM if given.minimum is None else given.minimum
        if len(found.rows) < wanted:
            left = ", ".join(f"{count} {reason}" for reason, count in sorted(found.left_out.items()))
            says = f"{len(found.rows)} of {wanted} new rows{f' ({left})' if left else ''}; it waits for more"
            return Turn("working", says, state, after_s=FEW_ROWS_S)
        about = {
            "deployment": scene.deployment.name,
            "reaction": scene.reaction.id,
            "champion": {"version": champion.version, "bundle": champion.bundle, "dataset": champion.facts.get("data.dataset")},
            "since": since,
            "until": until,
        }
        digest = collect.write(world, found, given.holdout or HOLDOUT, about)
        says = (
            f"{len(found.rows)} new rows in {len(found.labels)} labels gathered" if found.labels else f"{len(found.rows)} new rows gathered"
        )
        return Turn(
            "working", says, {"rows": digest, "champion": champion.version}, {"rows": digest, "count": len(found.rows)}, after_s=0.0
        )

    def _started(self, scene: Scene, state: dict[str, Any]) -> Turn:
        world = scene.world
        champion = world.store.registry.get(scene.deployment.spec["model"], int(state["champion"]))
        origin = origin_of(world.store, champion)
        folders = [world.store.artifacts.materialize(digest) for digest in (*origin.rows, state["rows"])]
        base = None
        if scene.given.start == "champion":
            model = champion.facts.get("train.model")
            if model is None:
                raise PenstockError(f"the model of version {champion.version} is not on record, so training cannot go on from it")
            base = world.store.artifacts.materialize(model)
        pipeline = retrained(origin, folders, scene.given, base)
        cause = {"reaction": scene.reaction.id, "rows": state["rows"], "champion": champion.version}
        run = queue_run(prepared(pipeline, origin.beside, origin.file, world), world, cause)
        return Turn("working", f"training in {run.id}", {**state, "run": run.id}, {"rows": state["rows"], "run": run.id}, after_s=LOOK_S)

    def _watched(self, scene: Scene, state: dict[str, Any]) -> Turn:
        world = scene.world
        try:
            run = world.store.resources.get("run", state["run"])
        except NotFound:
            return Turn("failed", f"run {state['run']} is gone", state)
        found = RunState.parse(run.status)
        cost = sum(step.seconds or 0.0 for step in found.steps.values() if step.phase == "succeeded") / 3600 * _price(scene.deployment)
        effect: dict[str, Any] = {"rows": state["rows"], "run": run.id}
        if found.model is not None:
            beside = found.steps[CHAMPION_STEP].metrics if CHAMPION_STEP in found.steps else {}
            effect |= {"version": found.model["version"], **effect_of(found.metrics, beside, str(run.spec["pipeline"]["task"]))}
        if run.phase in ("pending", "running", "deploying"):
            return Turn("working", _progress(run, found), state, effect, LOOK_S, cost)
        took = show_seconds((found.ended_at or 0.0) - (found.started_at or 0.0))
        phase = _ENDS.get(run.phase, "failed")
        if phase == "done":
            says = f"version {effect.get('version')} trained in {took} and took over: {told(effect)}"
        elif phase == "refused":
            says = f"version {effect.get('version')} trained in {took} and was {run.phase.replace('_', ' ')}: {_why(found)}"
        else:
            says = f"run {run.id} {run.phase}: {(found.error or {}).get('message', '')}"
        return Turn(phase, says, state, effect, 0.0, cost)


def champion_of(world: World, deployment: Resource) -> ModelVersion:
    """The version that is to be beaten: the alias `champion`, else the one that gets most requests."""
    model = deployment.spec["model"]
    number = world.store.registry.aliases(model).get("champion")
    if number is None:
        lead = leading(split_of(deployment.spec))
        assert lead is not None
        number = lead.version
    return world.store.registry.get(model, number)


def _price(deployment: Resource) -> float:
    return float(deployment.spec["platform"]["config"].get("usd_per_hour", 0.0))


def _progress(run: Resource, found: RunState) -> str:
    if run.phase == "deploying":
        return f"version {found.model['version'] if found.model else '?'} passed its gates and is being rolled out"
    working = [name for name, step in found.steps.items() if step.phase == "running"]
    return f"{run.id}: {', '.join(working) or 'waiting'}"


def _why(found: RunState) -> str:
    refused = [f"{gate['gate']}: {gate['reason']}" for gate in found.gates or [] if not gate["passed"]]
    return "; ".join(refused) or str((found.deployment or {}).get("reason", ""))


def about_rows(world: World, digest: str) -> dict[str, Any]:
    """What is known of the rows of a retraining: where from, how many, why each."""
    found: dict[str, Any] = json.loads((world.store.artifacts.materialize(digest) / "about.json").read_bytes())
    return found
