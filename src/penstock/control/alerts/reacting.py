"""Reactions as rules of a deployment's monitor: followed through signals like alerts, and considered for as long as they hold.

A reaction is about the deployment or one of its versions; what holds on a slice alone moves none. Whether it acts is its guard's to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from penstock.control.alerts.rows import resolve_alert
from penstock.control.alerts.words import brief, summary
from penstock.control.reactions.rows import consider, rule_name
from penstock.control.world import World
from penstock.monitoring.alerting.course import States, Turn
from penstock.monitoring.alerting.judging import judge
from penstock.monitoring.alerting.readings import Part, Readings
from penstock.monitoring.alerting.rules import Rule
from penstock.spec.react import Reaction
from penstock.spec.watches import parse_watch
from penstock.store.resources import Resource

PREFIX = "react:"  # of the keys of their rules; no alert's key can be one, since a condition holds no colon


@dataclass(frozen=True, slots=True)
class Reacting:
    """The reactions that a deployment declares, by the keys of their rules."""

    reactions: dict[str, Reaction]
    rules: Sequence[Rule]


def reacting_of(reactions: Iterable[Reaction], window_s: float) -> Reacting:
    found: dict[str, Reaction] = {}
    rules = []
    for reaction in reactions:
        watch, key = parse_watch(reaction.when), f"{PREFIX}{rule_name(reaction)}"
        if key not in found:
            found[key] = reaction
            rules.append(Rule(key, watch, clear_after_s=max(watch.for_s, window_s)))
    return Reacting(found, rules)


def is_reaction(turn: Turn) -> bool:
    return turn.rule.startswith(PREFIX)


def react(world: World, deployment: Resource, reacting: Reacting, states: States, readings: Readings) -> list[Resource]:
    """Considers each reaction whose condition holds; returns those that were made now."""
    made = []
    for rule in reacting.rules:
        held = [(part, states[key, part]) for key, part in states if key == rule.key and not part[1]]
        firing = sorted((part, progress) for part, progress in held if progress.phase == "firing")
        if not firing:
            continue
        part, progress = min(firing, key=lambda one: (one[0] != ("", ""), one[0]))
        cause = _cause(rule, part, progress.since, max(progress.known_at, progress.since), readings)
        _, row = consider(world, deployment, reacting.reactions[rule.key], cause)
        if row is not None:
            made.append(row)
    return made


def calm(world: World, deployment: Resource, turns: Iterable[Turn]) -> None:
    """An alert that a reaction raised is over when its condition no longer holds."""
    for turn in turns:
        if is_reaction(turn) and turn.change in ("cleared", "gone", "removed"):
            resolve_alert(world, deployment.name, turn.rule.removeprefix(PREFIX), "the condition no longer holds")


def _cause(rule: Rule, part: Part, since: float, at: float, readings: Readings) -> dict[str, Any]:
    facts = judge(rule.watch, readings, part, at).facts
    told = [{**asdict(one), "evidence": brief(dict(one.evidence or {}))} for one in facts]
    return {"says": summary(facts, *part, at - since), "condition": rule.watch.text, "version": part[0], "since": since, "facts": told}
