"""Rows as views: what a face shows, made from a run's or a deployment's resource."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from penstock.control.loaded import live_adapters
from penstock.control.split import leading, live_of, split_of
from penstock.control.state import RunState, StepState
from penstock.control.views import DeploymentView, GateView, ModelView, RunView, StepView
from penstock.store.resources import Resource


def view_of(run: Resource, now: float | None = None) -> RunView:
    """The view of a run's row; `now` (default: the clock) measures what still runs."""
    state = RunState.parse(run.status)
    now = time.time() if now is None else now
    order = [node["name"] for node in run.spec["graph"]]
    model, deployment = state.model, state.deployment
    return RunView(
        id=run.id,
        pipeline=run.name,
        phase=run.phase,
        steps=tuple(_step(name, state.steps.get(name, StepState()), now) for name in order),
        gates=tuple(GateView(g["gate"], g["passed"], g["reason"]) for g in state.gates or ()),
        model=ModelView(model["name"], model["version"], model["digest"]) if model else None,
        deployment=DeploymentView(deployment["name"], deployment["url"]) if deployment and deployment.get("url") else None,
        seconds=(state.ended_at or now) - (state.started_at or now),
    )


def _step(name: str, step: StepState, now: float) -> StepView:
    progress = step.progress or {}
    done, total = float(progress.get("done", 0.0)), progress.get("total")
    seconds = step.seconds if step.seconds is not None else (now - step.started_at if step.started_at else 0.0)
    rate = _rate(progress, done)
    eta = (total - done) / rate if step.phase == "running" and rate and total else None
    return StepView(
        name=name,
        phase=step.phase,
        done=done,
        total=total,
        unit=str(progress.get("unit", "")),
        rate=rate,
        facts=progress.get("facts", {}),
        seconds=seconds,
        eta_s=eta,
        message=step.message or "",
    )


def deployment_row(resource: Resource) -> dict[str, Any]:
    """What commands print of a deployment; `version` is the one that gets most requests, `wanted` the one that should."""
    live, wanted = leading(live_of(resource.status)), leading(split_of(resource.spec))
    return {
        "name": resource.name,
        "model": resource.spec["model"],
        "version": live.version if live else None,
        "wanted": wanted.version if wanted else None,
        "digest": live.bundle if live else None,
        "versions": [{"version": part.version, "weight": part.weight} for part in live_of(resource.status)],
        "phase": resource.phase,
        "replicas": resource.status.get("replicas", []),
        "scaling": {key: (resource.status.get("scaling") or {}).get(key) for key in ("wanted", "reason")},
        "url": resource.status.get("url"),
        "error": resource.status.get("error"),
        "notes": resource.status.get("notes", []),
        "adapters": _adapters(resource),
    }


def _adapters(resource: Resource) -> list[dict[str, Any]]:
    """Of the versions that are live or wanted; `live`: clients get it when they ask for it."""
    versions = {part.bundle: part.version for part in (*live_of(resource.status), *split_of(resource.spec))}
    return [
        {"name": name, "version": version, **row, "live": live_adapters(resource.status, bundle).get(name) == row["digest"]}
        for bundle, version in versions.items()
        for name, row in sorted(resource.spec.get("adapters", {}).get(bundle, {}).items())
    ]


def _rate(progress: Mapping[str, Any], done: float) -> float | None:
    """Units per second since the first progress of this attempt: neither what it found done nor its imports count."""
    at, from_at = progress.get("at"), progress.get("from_at")
    fresh = done - float(progress.get("from", 0.0))
    return fresh / (at - from_at) if at and from_at and at > from_at and fresh > 0 else None
