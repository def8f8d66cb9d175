"""From a built bundle to a served version: gates judged, version registered, champion named, deployment asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from penstock.control.adapters import Rows, check_adapters
from penstock.control.deployments import desired_deployment, lead_of, phase_of
from penstock.control.graph import CHAMPION_STEP, Graph
from penstock.control.movers import asks_for_challenger
from penstock.control.policy import BESIDE
from penstock.control.rollouts.orders import start_rollout
from penstock.control.split import leading, live_of, split_of
from penstock.control.state import RunState
from penstock.control.world import World
from penstock.core.errors import BadInput, ReplicaFailed
from penstock.store.resources import Resource

# Later steps speak last: a metric of the evaluation hides one of the same name from training.
_ORDER = ("data", "train", "optimize", "bundle", "evaluate")


def promote(run: Resource, graph: Graph, state: RunState, world: World) -> str:
    """Takes the next action after the last step and returns the run's phase. Idempotent: called again until it ends."""
    state.metrics = merged_metrics(graph, state)
    bundle = state.steps["bundle"].outputs["bundle"] if "bundle" in state.steps else None
    if bundle is None:
        return "succeeded"
    if state.gates is None:
        state.gates = _judge(run, state, world)
        state.model = _register(run, bundle, state, world)
        for gate in state.gates:
            kind = "gate.passed" if gate["passed"] else "gate.refused"
            world.store.events.add("run", run.id, kind, f"{gate['gate']}: {gate['reason']}", gate)
    if not all(gate["passed"] for gate in state.gates):
        return "refused"
    assert state.model is not None
    deploy = run.spec["pipeline"].get("deploy")
    if "alias" not in state.model:
        if deploy and run.spec.get("deploy", True):  # nothing is renamed or replaced for adapters that do not fit
            served = f"{run.name}:{state.model['version']}"
            check_adapters(run.spec.get("adapters", {}), state.model["digest"], served, world.store)
        alias = _alias(run, deploy, state.model["version"], world)
        world.store.registry.set_alias(run.name, alias, state.model["version"], f"run {run.id}")
        state.model = {**state.model, "alias": alias}
    if not deploy or not run.spec.get("deploy", True):
        return "succeeded"
    return _deploy(run, deploy, state, world)


def _alias(run: Resource, deploy: Mapping[str, Any] | None, version: int, world: World) -> str:
    """The name that a version which passed its gates gets: `challenger` when it is to stand beside a champion first, in the file's traffic
    or in a rollout.
    """
    champion = world.store.registry.aliases(run.name).get("champion")
    asks = deploy is not None and run.spec.get("deploy", True) and (asks_for_challenger(deploy) or deploy.get("strategy") is not None)
    served = world.store.resources.find("deployment", (deploy or {}).get("name") or run.name)
    serves = served is not None and served.phase != "deleted" and champion in {part.version for part in live_of(served.status)}
    return "challenger" if asks and serves and champion != version else "champion"


def merged_metrics(graph: Graph, state: RunState) -> dict[str, float]:
    """One flat table of metrics: user steps' under their own name and a dot, built-in steps' as they are."""
    merged: dict[str, float] = {}
    ranked = sorted(graph, key=lambda n: _ORDER.index(n.stage) if n.stage in _ORDER else -1)
    for node in ranked:
        if node.name == CHAMPION_STEP:
            continue
        prefix = f"{node.name}." if node.stage == "user" else ""
        merged.update({prefix + name: value for name, value in state.steps[node.name].metrics.items()})
    return merged


def _judge(run: Resource, state: RunState, world: World) -> list[dict[str, Any]]:
    from penstock.control.gates import ChampionEvidence, judge
    from penstock.spec.gates import parse_gate

    gates = [parse_gate(text) for text in run.spec["pipeline"].get("gates", ())]
    evidence = None
    if CHAMPION_STEP in state.steps:
        folders = [world.store.artifacts.materialize(state.steps[s].outputs["evaluation"]) for s in ("evaluate", CHAMPION_STEP)]
        challenger, champion = (folder / "predictions.parquet" for folder in folders)
        evidence = ChampionEvidence(champion=champion, challenger=challenger)
    verdicts = judge(gates, state.metrics, evidence)
    return [{"gate": v.gate_text, "passed": v.passed, "reason": v.reason, "evidence": dict(v.evidence)} for v in verdicts]


def _register(run: Resource, bundle: str, state: RunState, world: World) -> dict[str, Any]:
    facts = {f"{step}.{name}": digest for step, found in state.outputs.items() for name, digest in found.items()}
    passed = all(gate["passed"] for gate in state.gates or ())
    version = world.store.registry.register(
        run.name,
        bundle,
        run=run.id,
        task=run.spec["pipeline"].get("task"),
        metrics=state.metrics,
        gates=state.gates or [],
        facts=facts,
    )
    if version.state != "passed":
        # The same bytes judged again by stricter gates refuse this run, not a version that already serves by the old ones.
        world.store.registry.set_state(run.name, version.version, "passed" if passed else "refused")
    world.store.audit.append(f"run {run.id}", "model.register", f"{run.name}:{version.version}", {"bundle": bundle, "passed": passed})
    return {"name": run.name, "version": version.version, "digest": bundle}


def _deploy(run: Resource, deploy: Mapping[str, Any], state: RunState, world: World) -> str:
    assert state.model is not None
    name = deploy.get("name") or run.name
    if state.deployment is None:
        state.deployment = _asked_for(run, name, deploy, state.model, world)
        return "deploying"
    resource = world.store.resources.find("deployment", name)
    if resource is None or resource.phase == "deleted" or resource.spec.get("delete"):
        raise ReplicaFailed(f"deployment {name!r} was deleted while the run waited for it")
    if state.deployment.get("rollout"):
        return _rolled_out(state, resource, world)
    beside = state.model.get("alias") == "challenger"
    if not beside and state.model["version"] not in {part.version for part in split_of(resource.spec)}:
        state.deployment = {"name": name, "url": resource.status.get("url"), "superseded_by": lead_of(resource)}
        return "succeeded"
    phase = phase_of(resource)
    if phase == "failed":
        raise ReplicaFailed(f"deployment {name!r}: {resource.status.get('error', 'no replica became ready')}")
    if phase == "live" and (beside or state.model["version"] in {part.version for part in live_of(resource.status)}):
        state.deployment = {"name": name, "url": resource.status.get("url")}
        return "succeeded"
    return "deploying"


def _asked_for(run: Resource, name: str, deploy: Mapping[str, Any], model: Mapping[str, Any], world: World) -> dict[str, Any]:
    """Asks for the deployment; where one serves another version and a strategy is declared, for a rollout too."""
    wanted = {**deploy, **{section: run.spec["pipeline"].get(section) for section in BESIDE}}
    beside, rolls = model.get("alias") == "challenger", deploy.get("strategy") is not None
    serving = _serves(world, name)
    first = world.store.registry.get(run.name, "champion").version if beside and not rolls else model["version"]
    rolls = rolls and serving is not None and serving != first
    principal = f"run {run.id}"
    resource = desired_deployment(
        world,
        name,
        run.name,
        first,
        wanted,
        run.spec["platforms"],
        principal=principal,
        rollout=rolls,
        adapters=_adapters(run, model, first, world),
    )
    made = start_rollout(world, resource, first, principal=principal, cause={"run": run.id}).id if rolls else None
    return {"name": name, "url": None} | ({"rollout": made} if made else {})


def _adapters(run: Resource, model: Mapping[str, Any], first: int, world: World) -> dict[str, Rows]:
    """Those of the file, beside the run's own version; and beside the champion, where that stays and they fit it too."""
    rows = run.spec.get("adapters", {})
    found = {model["digest"]: rows}
    if first != model["version"]:
        champion = world.store.registry.get(run.name, first)
        with contextlib.suppress(BadInput):
            check_adapters(rows, champion.bundle, f"{run.name}:{first}", world.store)
            found[champion.bundle] = rows
    return found


def _serves(world: World, name: str) -> int | None:
    """The version that gets most requests of the deployment, if one does."""
    resource = world.store.resources.find("deployment", name)
    if resource is None or resource.phase == "deleted" or resource.spec.get("delete"):
        return None
    lead = leading([part for part in live_of(resource.status) if part.weight > 0])
    return lead.version if lead is not None else None


def _rolled_out(state: RunState, deployment: Resource, world: World) -> str:
    """A run that began a rollout ends when the new version has all requests, or was sent back."""
    assert state.deployment is not None
    rollout = world.store.resources.get("rollout", state.deployment["rollout"])
    state.deployment = {
        **state.deployment,
        "url": deployment.status.get("url"),
        "phase": rollout.phase,
        "reason": rollout.status.get("reason", ""),
    }
    if rollout.phase in ("watching", "promoted"):
        return "succeeded"
    if rollout.phase == "rolled_back":
        return "rolled_back"
    if rollout.phase == "stopped":
        state.deployment["superseded_by"] = lead_of(deployment)
        return "succeeded"
    return "deploying"
