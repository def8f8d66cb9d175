"""Reactions as rows: made once for a cause when the guard lets them, and read back as the past of their rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.control.reactions.guard import ENDED, Past, Verdict, judge
from penstock.control.reactions.table import ACTIONS
from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import Conflict
from penstock.spec.react import Reaction
from penstock.store.resources import Resource

KIND = "reaction"


def rule_name(rule: Reaction) -> str:
    """Its name, or one by what it says."""
    return rule.name or f"{'-'.join(rule.do)}-{hex_of(digest_json([rule.when, list(rule.do)]))[:6]}"


def consider(world: World, deployment: Resource, rule: Reaction, cause: Mapping[str, Any]) -> tuple[Verdict, Resource | None]:
    """Makes a reaction where its guard lets it; says why where it does not. To be called for as long as the condition holds.

    `cause` (JSON values): what holds and since when, with the numbers behind it. Audited.
    """
    name = rule_name(rule)
    rows = [row for row in world.store.resources.list(KIND, name=deployment.name, limit=200) if row.spec["rule"] == name]
    past = [Past(row.phase, row.created_at, float(row.status.get("cost_usd", 0.0))) for row in rows]
    verdict, estimate = judge(rule, past, world.clock.now()), 0.0
    if verdict.may != "wait":  # only now: an estimate plans what would run
        estimate = sum(ACTIONS.load(action)().estimate_usd(world, deployment, rule.with_) for action in rule.do)
        verdict = judge(rule, past, world.clock.now(), estimate)
    if verdict.may == "wait":
        return verdict, None
    spec = {
        "deployment": deployment.name,
        "rule": name,
        "when": rule.when,
        "actions": list(rule.do),
        "with": rule.with_.model_dump(mode="json", exclude_none=True),
        "cause": dict(cause),
        "dry_run": rule.dry_run,
        "ask_first": verdict.says if verdict.may == "ask" else None,
        "estimate_usd": estimate,
        "answer": None,
    }
    # The number of those before it is part of the name: whoever else considers the same moment makes the same row, once.
    ident = f"{KIND}-{hex_of(digest_json([deployment.id, name, len(rows)]))[:20]}"
    try:
        made = world.store.resources.create(KIND, deployment.name, spec, id=ident)
    except Conflict:
        return verdict, None
    says = f"{rule.when}: {', '.join(rule.do)}{' (rehearsed only)' if rule.dry_run else ''}"
    world.store.audit.append(f"rule {name}", "reaction.start", deployment.name, {"reaction": ident, "cause": dict(cause)})
    world.store.events.add(KIND, ident, "reaction.caused", f"{says}; {cause.get('says', '')}".rstrip("; "), {"cause": dict(cause)})
    world.store.events.add("deployment", deployment.id, "reaction.caused", f"{name}: {says}", {"reaction": ident, "cause": dict(cause)})
    return verdict, made


def reaction_row(resource: Resource) -> dict[str, Any]:
    """What commands print: cause → action → effect."""
    status = resource.status
    return {
        "id": resource.id,
        "deployment": resource.spec["deployment"],
        "rule": resource.spec["rule"],
        "when": resource.spec["when"],
        "actions": resource.spec["actions"],
        "phase": resource.phase,
        "says": status.get("says", ""),
        "cause": resource.spec["cause"],
        "steps": status.get("steps", []),
        "dry_run": resource.spec["dry_run"],
        "cost_usd": status.get("cost_usd", 0.0),
        "estimate_usd": resource.spec["estimate_usd"],
        "created_at": resource.created_at,
        "ended_at": status.get("ended_at") if resource.phase in ENDED else None,
    }
