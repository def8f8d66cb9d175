"""One pass over a pipeline's triggers: what is due is queued as a run of the file as it is now.

A cron time that passed while nobody was there is made up for once, however many passed. Data that changed starts a run once it looks the
same twice, so that a file which is being written is left alone. A file that cannot be loaded is told, and tried again at the next time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from penstock.control.contract import Again, Done, Outcome
from penstock.control.preparing import Prepared, prepare, prepared, queue_run
from penstock.control.reactions.rows import consider
from penstock.control.triggers.clock import last_time, next_time
from penstock.control.world import World
from penstock.core.errors import NotFound, PenstockError
from penstock.spec.pipeline import Pipeline
from penstock.spec.react import Reaction, Trigger
from penstock.store.resources import Resource

KIND = "trigger"
LONGEST_S = 3600.0  # between looks: clocks are set, files change


Row = dict[str, Any]


@dataclass(slots=True)
class Look:
    """One pass: what is told is written together with the row."""

    resource: Resource
    world: World
    now: float
    told: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


class TriggerReconciler:
    kind = KIND

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """Phases: active; removed when the pipeline has no triggers any more."""
        if resource.phase == "removed" or resource.spec.get("removed"):
            world.store.resources.save(KIND, resource.id, world.owner, status=resource.status, phase="removed", due_at=None)
            return Done()
        look = Look(resource, world, world.clock.now())
        known = {row["what"]: dict(row) for row in resource.status.get("triggers", ())}
        rows, waits = [], [LONGEST_S]
        for spec in resource.spec["triggers"]:
            trigger = Trigger.model_validate(spec)
            row: Row = known.get(_what(trigger)) or {"what": _what(trigger), "since": look.now}
            waits.append(_cron(trigger, row, look) if trigger.cron is not None else _data(trigger, row, look))
            rows.append(row)
        pause = max(min(waits), 0.05)
        with world.store.database.begin():
            for kind, message, data in look.told:
                world.store.events.add(KIND, resource.id, kind, message, data)
            status = {**resource.status, "triggers": rows}
            world.store.resources.save(KIND, resource.id, world.owner, status=status, phase="active", due_at=look.now + pause)
        return Again(pause)


def _cron(trigger: Trigger, row: Row, look: Look) -> float:
    """Fires what is due; returns seconds until the next time. Writes what it knows into `row`, as `_data` does."""
    assert trigger.cron is not None
    due = last_time(trigger.cron, trigger.timezone, float(row["fired"] if "fired" in row else row["since"]), look.now)
    if due is not None:
        late = f", {look.now - due:.0f} s late" if look.now - due > 60 else ""
        says = f"{trigger.cron} in {trigger.timezone} ({_shown(due, trigger.timezone)}{late})"
        _fire(trigger, {"trigger": look.resource.id, "cron": trigger.cron, "at": due}, says, row, look)
        row["fired"] = due
    row["next"] = after = next_time(trigger.cron, trigger.timezone, look.now)
    return LONGEST_S if after is None else after - look.now


def _data(trigger: Trigger, row: Row, look: Look) -> float:
    if (rest := float(row.get("looked", 0.0)) + trigger.every - look.now) > 0:
        return rest
    row["looked"] = look.now
    try:
        seen = digests_of(_prepared(look))
    except PenstockError as error:
        _complain(row, error, look)
        return trigger.every
    row.pop("error", None)
    if "known" not in row:
        row["known"] = seen
    elif seen != row["known"] and seen == row.get("last"):
        changed = sum(one not in row["known"] for one in seen)
        cause = {"trigger": look.resource.id, "data": seen}
        _fire(trigger, cause, f"{changed} source{'s' if changed != 1 else ''} changed", row, look)
        row["known"] = seen
    row["last"] = seen
    return trigger.every


def digests_of(run: Prepared) -> list[str]:
    """What the pipeline's sources are now, by digest, in order."""
    node = next((node for node in run.graph if node.stage == "data"), None)
    config: Mapping[str, Any] = node.config if node is not None else {}
    return [source["digest"] for part in ("sources", "test") for source in config.get(part, ())]


def _prepared(look: Look) -> Prepared:
    """From the file as it is now; from the row for a pipeline that was built in Python."""
    spec = look.resource.spec
    if spec.get("file"):
        return prepare(Path(spec["file"]), look.world, overrides=spec.get("set", ()))
    return prepared(Pipeline.model_validate(spec["pipeline"]), Path.cwd(), "", look.world)


def _fire(trigger: Trigger, cause: dict[str, Any], says: str, row: Row, look: Look) -> None:
    try:
        did = _retrain(trigger, cause, says, look) if trigger.do == "retrain" else _run(cause, look)
    except PenstockError as error:
        _complain(row, error, look)
        return
    row.pop("error", None)
    row["last_fired"] = {"at": look.now, **did}
    look.told.append(("trigger.fired", f"{says}: {did['says']}", {**cause, **did}))


def _run(cause: dict[str, Any], look: Look) -> dict[str, Any]:
    run = queue_run(_prepared(look), look.world, cause)
    return {"run": run.id, "says": f"{run.id} begins"}


def _retrain(trigger: Trigger, cause: dict[str, Any], says: str, look: Look) -> dict[str, Any]:
    name = look.resource.spec["deployment"]
    deployment = look.world.store.resources.find("deployment", name)
    if deployment is None or deployment.phase == "deleted":
        raise NotFound(f"nothing is deployed as {name!r}, so there is nothing to retrain", remedy="Run the pipeline once.")
    given = trigger.with_.model_dump(mode="json", exclude_none=True)
    rule = Reaction.model_validate({"when": "requests >= 0", "do": "retrain", "with": given, "name": "scheduled", "cooldown": 0})
    verdict, made = consider(look.world, deployment, rule, {**cause, "says": says})
    return {"reaction": made.id, "says": f"{made.id} begins"} if made is not None else {"says": f"not now: {verdict.says}"}


def _complain(row: Row, error: PenstockError, look: Look) -> None:
    """Told once until it changes."""
    if row.get("error") != str(error):
        row["error"] = str(error)
        look.told.append(("trigger.failed", str(error), error.as_json()))


def _what(trigger: Trigger) -> str:
    """By what a trigger is known again after the file was changed around it."""
    when = f"{trigger.cron} {trigger.timezone}" if trigger.cron is not None else "data"
    return f"{when} → {trigger.do}"


def _shown(at: float, zone: str) -> str:
    return datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")
