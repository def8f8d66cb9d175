"""What became of a rollout's requests since its last look: from the gateway's records and feedback, and from signals of its version."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from penstock.control.outcomes import FEEDBACK_S, LAG_S, Outcome, Span, ended, rewarded
from penstock.control.recent import Recent, Row
from penstock.control.rollouts.conditions import Condition
from penstock.control.rollouts.evidence import Batch
from penstock.control.world import World
from penstock.serving.feedback import read_feedback


@dataclass(frozen=True, slots=True)
class Place:
    """`began`: of the whole rollout; labels may come for requests of an earlier stage. `longest_s`: what a request may take."""

    deployment: str
    new: str
    longest_s: float
    began: float


def batch_of(place: Place, recent: Recent, span: Span, conditions: tuple[Condition, ...], shadow: bool, world: World) -> Batch:
    """All that was over, was said or was measured within `span`. `shadow`: the new version is judged by its copies."""
    rows = ended(recent, span, place.longest_s)
    new = [row for row in rows if row["version"] == place.new]
    if shadow:
        # A copy belongs to the session of its request, which counts for the old version: as one of the new version's it stands alone.
        new = [{**row, "session": None} for row in _copies(recent, span, place)]
        rows = [*rows, *new]
    sources = {condition.source for condition in conditions}
    worse = {getattr(condition.leaf, "signal", "") for condition in conditions if condition.source == "contest"}
    rated = list(_rated(recent, span, place, world)) if "labels" in sources or "live.accuracy" in worse else []
    wide = Span(span.since, span.until, place.began)
    scored = rewarded(world.home.gateway, recent, wide) if "scores" in sources or "live.score" in worse else []
    signals = []
    if sources & {"signals", "alarm"}:
        signals = world.store.signals.read(place.deployment, since=span.since, until=span.until)
    return Batch(rows, new, rated, scored, [signal for signal in signals if signal.version == place.new])


def _copies(recent: Recent, span: Span, place: Place) -> list[Row]:
    found = recent.records(max(span.since - place.longest_s - LAG_S, span.began), span.until)
    over = ((row, row["ts"] + row["total_ms"] / 1000) for row in found if row["version"] == place.new and row["shadow_of"] is not None)
    return [row for row, at in over if span.since < at <= span.until and row["ts"] >= span.began]


def _rated(recent: Recent, span: Span, place: Place, world: World) -> Iterator[Outcome]:
    """1 where the label that was said is the one that was answered, by the key that asked; a request counts at its first label."""
    said = [f for f in read_feedback(world.home.gateway / "feedback", span.since, math.nextafter(span.until, math.inf)) if f.label]
    said = sorted((f for f in said if f.ts > span.since), key=lambda f: f.ts)
    if not said:
        return
    since = max(min(f.ts for f in said) - FEEDBACK_S, place.began)
    known = {(row["id"], row["key"]): row for row in recent.records(since, span.until) if row["shadow_of"] is None}
    for one in said:
        row = known.get((one.id, one.key))
        if row is not None and row.get("label") is not None and row.get("fallback_for") is None:
            yield Outcome(one.ts, row["version"], row["id"], float(row["label"] == one.label))
