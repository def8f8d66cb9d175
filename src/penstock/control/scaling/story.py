"""Scaling as commands see it: look, change, go back, simulate. Each opens and closes the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.control.daemon import control_state
from penstock.control.delivery import opened_world
from penstock.control.deployments import get_deployment
from penstock.control.policy import deploy_of
from penstock.control.scaling.compare import Setting, compare
from penstock.control.scaling.live import scaling_row
from penstock.control.scaling.orders import set_scale, undo_scale
from penstock.control.scaling.simulate import Fleet
from penstock.control.scaling.trace import Cost, fitted, read_trace, trace_file
from penstock.control.world import World, principal
from penstock.core.errors import BadInput
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.serving.load import read_load
from penstock.serving.record_files import read_records
from penstock.spec.deploy import Scale

EVENTS = ("deployment.scaled", "scale.set")
SHOWN = 20  # events, newest last
RECORDS_S = 86_400.0  # how far back requests are read for what one costs


def scale_story(name: str) -> dict[str, Any]:
    """Bounds, number and reason, the load now, and what changed the number. Raises NotFound."""
    with opened_world() as world:
        return _story(world, name)


def change_scale(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Raises NotFound, BadInput."""
    with opened_world() as world:
        set_scale(world, name, changes, principal=principal())
        return _story(world, name)


def go_back(name: str) -> dict[str, Any]:
    """Raises NotFound, BadInput."""
    with opened_world() as world:
        undo_scale(world, name, principal=principal())
        return _story(world, name)


def _story(world: World, name: str) -> dict[str, Any]:
    row = get_deployment(world, name)
    told = [event for event in world.store.events.latest("deployment", row.id) if event.type in EVENTS]
    load = read_load(world.home.gateway).get(name)
    seen = None if load is None else {"in_flight": load.in_flight, "waiting": load.waiting, "held": load.held, "rate": load.rate}
    events = [{"at": event.at, "type": event.type, "message": event.message} for event in told[-SHOWN:]]
    runs = control_state(world.home) is not None
    return {**scaling_row(row, world.clock.now()), "load": seen, "before": row.spec.get("scale_before"), "runs": runs, "events": events}


@dataclass(frozen=True, slots=True)
class Trial:
    """What to simulate. `deployment`: takes its `scale`, its cold start and, from its records, what a request costs."""

    trace: str = "conv"
    speedup: float = 1.0
    scale: Scale | None = None
    fleet: Fleet = Fleet()  # noqa: RUF009 (frozen)
    cost: Cost | None = None
    days: int = 7
    deployment: str | None = None


def simulate_policies(trial: Trial, plot: Path | None) -> dict[str, Any]:
    """The policies' table; with `plot`, an SVG is written there. Raises BadInput, NotFound, SourceUnreadable."""
    asked = read_trace(trace_file(trial.trace, Home.find().cache), trial.speedup)
    scale, fleet, cost = trial.scale, trial.fleet, trial.cost
    if trial.deployment is not None:
        scale, fleet, cost = _measured(trial)
    setting = Setting(scale or Scale(min=1, max=20, target_concurrency=6), fleet, cost or Cost(), trial.days)
    if setting.scale.target_concurrency > fleet.slots:
        raise BadInput(f"a target of {setting.scale.target_concurrency} at once does not fit into {fleet.slots} slots a replica")
    rows = compare(asked, setting)
    if plot is not None:
        from penstock.control.scaling.plot import replicas_plot

        write_atomic(plot, replicas_plot(rows, setting.scale.target_concurrency).encode())
    facts = {
        "slots": fleet.slots,
        "cold_start_s": fleet.cold_start_s,
        "cost_s": {"request": setting.cost.base_s, "prompt_token": setting.cost.prompt_s, "completion_token": setting.cost.completion_s},
        "scale": setting.scale.model_dump(mode="json", exclude_defaults=True),
    }
    span = {"requests": len(asked), "hours": round((asked[-1].at - asked[0].at) / 3600, 3)}
    return {"trace": trial.trace, **span, **facts, "policies": [row.as_json() for row in rows], "plot": str(plot) if plot else None}


def _measured(trial: Trial) -> tuple[Scale, Fleet, Cost]:
    assert trial.deployment is not None
    with opened_world() as world:
        row = get_deployment(world, trial.deployment)
        deploy, kept = deploy_of(row.spec), row.status.get("scaling") or {}
        records = read_records(world.home.gateway / "records", world.clock.now() - RECORDS_S)
        cost = trial.cost or fitted(r for r in records if r["model"] == trial.deployment)
    slots = deploy.protect.concurrency or trial.fleet.slots
    cold = kept.get("cold_start_s") or trial.fleet.cold_start_s
    fleet = Fleet(slots, cold, trial.fleet.look_s, deploy.protect.queue, deploy.protect.hold)
    return trial.scale or deploy.scale, fleet, cost
