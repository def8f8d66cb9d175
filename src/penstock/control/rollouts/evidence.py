"""What a stage of a rollout has learnt: every condition's test after what became of requests, and what can be said of each. Pure.

A stage starts with nothing learnt: what held with a twentieth of the load is no proof for a quarter of it. The chance to send a good
version back is shared by all conditions of all stages, so that it is the declared one over the whole rollout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from penstock.control.contest import more, race_of
from penstock.control.outcomes import Outcome, measured, seconds_of
from penstock.control.rollouts.conditions import Condition, percent, shown_limit
from penstock.control.rollouts.machine import Finding
from penstock.monitoring import sequential, threshold
from penstock.monitoring.threshold import Threshold, counted, needed, watch
from penstock.monitoring.units import Units
from penstock.spec.conditions import Comparison, Metric, Number
from penstock.spec.watches import Worse
from penstock.store.signals import Signal

Row = Mapping[str, Any]
_ALARMS = 2  # windows over their limit in a row: one may be chance


@dataclass(frozen=True, slots=True)
class Batch:
    """What became known since the last look. `rows`: of both versions, clients' own; `new`: those by which the new version is judged (its
    shadow's copies while it is one). `rated`, `scored`: 1 where the label was right, and scores mapped to [0, 1].
    """

    rows: Sequence[Row] = ()
    new: Sequence[Row] = ()
    rated: Sequence[Outcome] = ()
    scored: Sequence[Outcome] = ()
    signals: Sequence[Signal] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """JSON values. `tests`: the state of each condition's test, in order; `cursor`: up to when everything was read."""

    stage: int
    began: float
    cursor: float
    requests: int = 0
    tests: Sequence[Mapping[str, Any]] = ()
    rated: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Trial:
    """Who is tried: the old and the new version, as text, and the new one's share of requests."""

    old: str
    new: str
    share: float


@dataclass(frozen=True, slots=True)
class Errors:
    """Chances of being wrong: to call a condition broken that is kept, and to call one kept that is broken."""

    breach: float
    kept: float


def errors_of(confidence: float, conditions: int, stages: int) -> Errors:
    return Errors((1 - confidence) / max(conditions * stages, 1), 1 - confidence)


def gathered(evidence: Evidence, batch: Batch, conditions: Sequence[Condition], trial: Trial) -> Evidence:
    """The evidence after one more batch."""
    rated = Units.parse(evidence.rated or None)
    own = [o for o in batch.rated if o.version == trial.new and rated.admit(o.session)]
    tests = [
        _more(condition, evidence.tests[place] if place < len(evidence.tests) else {}, replace(batch, rated=own), trial, batch)
        for place, condition in enumerate(conditions)
    ]
    return replace(evidence, requests=evidence.requests + len(batch.new), tests=tests, rated=rated.as_json())


def _more(condition: Condition, state: Mapping[str, Any], own: Batch, trial: Trial, batch: Batch) -> dict[str, Any]:
    if condition.source == "contest":
        return more(state, _outcomes(condition, batch), (trial.old, trial.new), trial.share)
    if condition.source == "alarm":
        return _alarms(condition, state, batch, trial)
    test = Threshold.parse(state) if state else Threshold(condition.limit)
    if condition.source == "records":
        values = [value for row in batch.new if (value := condition.value(row)) is not None]
        return watch(test, values).as_json()
    if condition.source == "signals":
        for signal in batch.signals:
            if _about(signal, condition, trial) and signal.count > 0:
                hits = min(max(signal.value * signal.count, 0.0), signal.count)
                test = counted(test, hits, signal.count)
        return test.as_json()
    outcomes = own.rated if condition.source == "labels" else batch.scored
    return watch(test, [o.value for o in outcomes if o.version == trial.new]).as_json()


def _outcomes(condition: Condition, batch: Batch) -> list[Outcome]:
    assert isinstance(condition.leaf, Worse)
    name = condition.leaf.signal
    if name == "live.accuracy":
        return list(batch.rated)
    if name == "live.score":
        return list(batch.scored)
    return measured(list(batch.rows), "latency" if name == "latency" else "success")


def _alarms(condition: Condition, state: Mapping[str, Any], batch: Batch, trial: Trial) -> dict[str, Any]:
    windows, over, last = int(state.get("windows", 0)), int(state.get("over", 0)), state.get("last")
    for signal in batch.signals:
        if _about(signal, condition, trial):
            windows, over = windows + 1, over + 1 if signal.over else 0
            last = {"value": signal.value, "limit": signal.limit}
    return {"windows": windows, "over": over, "last": last}


def _about(signal: Signal, condition: Condition, trial: Trial) -> bool:
    leaf = condition.leaf
    name = leaf.left.key if isinstance(leaf, Comparison) and isinstance(leaf.left, Metric) else getattr(leaf, "signal", "")
    return signal.name == name and signal.version == trial.new and not signal.slice


def findings(evidence: Evidence, conditions: Sequence[Condition], errors: Errors) -> list[Finding]:
    """What can be said of each condition now."""
    return [
        _finding(condition, evidence.tests[place] if place < len(evidence.tests) else {}, errors)
        for place, condition in enumerate(conditions)
    ]


def _finding(condition: Condition, state: Mapping[str, Any], errors: Errors) -> Finding:
    if condition.source == "contest":
        return _against(condition, state, errors)
    if condition.source == "alarm":
        return _alarmed(condition, state)
    test = Threshold.parse(state) if state else Threshold(condition.limit)
    kept = "below" if condition.breach == "above" else "above"
    side = {"above": errors.breach if condition.breach == "above" else errors.kept}
    side["below"] = errors.breach if condition.breach == "below" else errors.kept
    found = threshold.read(test, side["above"], side["below"])
    shown = {"count": test.count, "mean": None if test.count == 0 else round(test.mean, 6), "limit": test.limit}
    says = _told(condition, test)
    if found == condition.breach:
        return Finding(condition.text, "breach", f"{says}: proven", shown)
    if found == kept:
        return Finding(condition.text, "kept", f"{says}: kept", shown)
    if test.count:
        left = needed(test.limit, test.mean, "below" if kept == "below" else "above", errors.kept) - test.count
        says = f"{says}: about {max(left, 1):.0f} more would settle it" if left < 1e6 else f"{says}: too close to call"
    return Finding(condition.text, "open", says, shown, not condition.implied)


def _told(condition: Condition, test: Threshold) -> str:
    leaf = condition.leaf
    assert isinstance(leaf, Comparison)
    assert isinstance(leaf.left, Metric)
    assert isinstance(leaf.right, Number)
    name, what = leaf.left.key, "labels" if condition.source == "labels" else "ratings" if condition.source == "scores" else "requests"
    if not test.count:
        return f"{name}: no {what} yet"
    if name.endswith("_ms"):
        return (
            f"{percent(test.mean)} of {test.count:.0f} {what} took more than {leaf.right.value:g} ms (allowed {percent(condition.limit)})"
        )
    if name == "cost.request":
        return f"{name} {test.mean / condition.limit * leaf.right.value:.3g} USD over {test.count:.0f} requests, limit {leaf.right.value:g}"
    return f"{name} {percent(test.mean)} of {test.count:.0f} {what}, limit {shown_limit(condition)}"


def _against(condition: Condition, state: Mapping[str, Any], errors: Errors) -> Finding:
    assert isinstance(condition.leaf, Worse)
    name, margin, race = condition.leaf.signal, condition.leaf.margin, race_of(state)
    allowed = _score_of(1 + margin) if name == "latency" else margin
    strict = sequential.read(race, 1 - errors.breach)
    loose = sequential.read(race, 1 - 2 * errors.kept)  # one side of it is used
    shown = {"effect": None, "low": strict.low, "high": strict.high, "margin": margin, "outcomes": [race.a[0], race.b[0]]}
    if not race.blocks:
        return Finding(condition.text, "open", f"{name} against the champion: nothing to compare yet", shown, not condition.implied)
    shown["effect"] = round(strict.effect, 6)
    says = _beside(name, strict, race)
    if strict.high < -allowed:
        return Finding(condition.text, "breach", f"{says}: proven", shown)
    if loose.low > -allowed:
        return Finding(condition.text, "kept", f"{says}: kept", shown)
    return Finding(condition.text, "open", f"{says}: not settled", shown, not condition.implied)


def _beside(name: str, reading: sequential.Reading, race: sequential.Race) -> str:
    pair = f"of {race.b[0]} and {race.a[0]} sessions"
    if name == "latency":
        best, least, most = (_ratio(-effect) for effect in (reading.effect, reading.high, reading.low))
        return f"takes {best:.3g} times as long as the champion ({least:.3g} to {most:.3g}) {pair}"
    if name == "error_rate":
        return f"error_rate {percent(1 - reading.b_mean)} beside the champion's {percent(1 - reading.a_mean)} {pair}"
    return f"{name} {percent(reading.b_mean)} beside the champion's {percent(reading.a_mean)} {pair}"


def _score_of(ratio: float) -> float:
    """The loss of latency score that comes with a time that is `ratio` times as long."""
    return math.log(ratio) / math.log(seconds_of(0.0) / seconds_of(1.0))


def _ratio(lost: float) -> float:
    return float((seconds_of(0.0) / seconds_of(1.0)) ** lost)


def _alarmed(condition: Condition, state: Mapping[str, Any]) -> Finding:
    windows, over, last = int(state.get("windows", 0)), int(state.get("over", 0)), state.get("last") or {}
    name = getattr(condition.leaf, "signal", "")
    shown = {"windows": windows, "over": over, **last}
    if not windows:
        return Finding(condition.text, "open", f"{name}: no window yet", shown)
    says = f"{name} {last['value']:.3g}, limit {last['limit']:.3g}, in the last of {windows} windows" if last.get("limit") else name
    if over >= _ALARMS:
        return Finding(condition.text, "breach", f"{says}: {over} over it in a row", shown)
    return Finding(condition.text, "kept" if over == 0 else "open", says, shown)
