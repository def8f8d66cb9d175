"""What became of requests, by version: read from the gateway's records and feedback, each exactly once, however often it is looked.

A request counts at the instant it was over, feedback at the instant it was given. A reader asks for the instants after its cursor up to
LAG_S ago, when all that happened by then is on disk, and keeps the end as its new cursor. So a repeated or interrupted reading counts
nothing twice, and needs no list of what was seen. Not covered: feedback later than FEEDBACK_S after its request; clocks set back by more
than LAG_S.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from penstock.control.recent import Recent, Row
from penstock.serving.feedback import Feedback

LAG_S = 1.5  # records reach the disk within a tenth of a second; the rest is for a busy machine
FEEDBACK_S = 3600.0
CLIENT_GONE = 499
FASTEST_S, SLOWEST_S = 0.001, 600.0  # between them latency becomes a score

Metric = Literal["reward", "success", "latency"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`at`: seconds since the epoch. `session`: the request's own id where it had none. `value`: by the metric, higher is better."""

    at: float
    version: str
    session: str
    value: float


@dataclass(frozen=True, slots=True)
class Span:
    """Instants after `since`, up to and with `until`, in seconds since the epoch. Requests that arrived before `began` do not count."""

    since: float
    until: float
    began: float = 0.0


def ended(recent: Recent, span: Span, longest_s: float) -> list[Row]:
    """Records of an experiment whose requests were over within `span`. `longest_s`: what a request may take.

    By arrival: the order in which they were over would depend on what is measured.
    """
    found = (
        record
        for record in recent.records(max(span.since - longest_s - LAG_S, span.began), span.until)
        if span.since < _end(record) <= span.until
    )
    return sorted(_drawn(found, span.began), key=lambda record: record["ts"])


def rewarded(recent: Recent, span: Span) -> list[Outcome]:
    """Scores that were given within `span` to requests of an experiment by the key that asked, mapped from [-1, 1] to [0, 1]."""
    said = [f for f in recent.said(span.since, span.until) if f.score is not None]
    found = []
    for one, record in _about(recent, span, said):
        assert one.score is not None
        found.append(Outcome(one.ts, record["version"], session_of(record), (one.score + 1) / 2))
    return found


def labelled(recent: Recent, span: Span) -> list[Outcome]:
    """1 where the label that was said within `span` is the one that was answered, else 0; `session` is the request's own id."""
    said = [f for f in recent.said(span.since, span.until) if f.label is not None]
    pairs = ((one, record) for one, record in _about(recent, span, said) if record.get("label") is not None)
    return [Outcome(one.ts, record["version"], record["id"], float(record["label"] == one.label)) for one, record in pairs]


def _about(recent: Recent, span: Span, said: list[Feedback]) -> Iterator[tuple[Feedback, Row]]:
    """Each with the record of its request, where that is one of the experiment's and the key that asked said it."""
    wanted = {f.id for f in said}
    if not wanted:
        return
    by_id = {(r["id"], r["key"]): r for r in _drawn(recent.held(), span.began) if r["id"] in wanted}
    if any((f.id, f.key) not in by_id for f in said):  # rated late, or no request of this experiment
        first = max(min(f.ts for f in said) - FEEDBACK_S, span.began)
        if recent.since is None or first < recent.since:
            by_id |= {(r["id"], r.get("key")): r for r in _drawn(recent.records(first, span.until), span.began) if r["id"] in wanted}
    for one in said:
        if (record := by_id.get((one.id, one.key))) is not None:
            yield one, record


def measured(records: list[Row], metric: Metric) -> list[Outcome]:
    """Success (not the server's fault: status below 500) or latency (a score of the logarithm of the time) of each record.

    A client that went away says nothing of either; a failure counts as the slowest answer, since failing fast is no virtue.
    """
    value: Callable[[Row], float] = _success if metric == "success" else _speed
    return [Outcome(_end(r), r["version"], session_of(r), value(r)) for r in records if r["status"] != CLIENT_GONE]


def session_of(record: Row) -> str:
    return str(record.get("session") or record["id"])


def seconds_of(score: float) -> float:
    """The time whose latency score this is; of a mean score the geometric mean."""
    return float(FASTEST_S * (SLOWEST_S / FASTEST_S) ** (1 - score))


def _success(record: Row) -> float:
    return float(record["status"] < 500)


def _speed(record: Row) -> float:
    if record["status"] >= 500:
        return 0.0
    place = math.log(max(record["total_ms"] / 1000, FASTEST_S) / FASTEST_S) / math.log(SLOWEST_S / FASTEST_S)
    return max(1.0 - place, 0.0)


def _drawn(records: Iterable[Row], began: float) -> Iterator[Row]:
    """Those whose version was drawn by the experiment's shares: no copies, and nothing that another model answered instead."""
    for record in records:
        drawn = record.get("version") is not None
        if drawn and record["ts"] >= began and record.get("shadow_of") is None and record.get("fallback_for") is None:
            yield record


def _end(record: Row) -> float:
    return float(record["ts"] + record["total_ms"] / 1000)
