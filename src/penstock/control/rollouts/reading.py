"""What became of a rollout's requests since its last look: from the gateway's records and feedback, and from signals of its version."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.control.outcomes import LAG_S, Span, ended, labelled, rewarded
from penstock.control.recent import Recent, Row
from penstock.control.rollouts.conditions import Condition
from penstock.control.rollouts.evidence import Batch
from penstock.control.world import World


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
    wide = Span(span.since, span.until, place.began)
    rated = labelled(recent, wide) if "labels" in sources or "live.accuracy" in worse else []
    scored = rewarded(recent, wide) if "scores" in sources or "live.score" in worse else []
    signals = []
    if sources & {"signals", "alarm"}:
        signals = world.store.signals.read(place.deployment, since=span.since, until=span.until)
    return Batch(rows, new, rated, scored, [signal for signal in signals if signal.version == place.new])


def _copies(recent: Recent, span: Span, place: Place) -> list[Row]:
    found = recent.records(max(span.since - place.longest_s - LAG_S, span.began), span.until)
    over = ((row, row["ts"] + row["total_ms"] / 1000) for row in found if row["version"] == place.new and row["shadow_of"] is not None)
    return [row for row, at in over if span.since < at <= span.until and row["ts"] >= span.began]
