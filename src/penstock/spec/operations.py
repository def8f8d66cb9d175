"""What must hold in the sections about a deployment at work: conditions that can be read and measured, receivers and versions that exist.

Works on plain values that may still be of a wrong shape, as structure.py does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from penstock.spec.conditions import Comparison, Metric, Number
from penstock.spec.diagnose import Complaint, nearest, show
from penstock.spec.gates import GateSyntax
from penstock.spec.signals import TESTABLE, missing
from penstock.spec.watches import Alarm, Leaf, Watch, Worse, parse_watch, signals_used

Loc = tuple[str | int, ...]
_FIELDS = ("minute", "hour", "day-of-month", "month", "day-of-week")


def complaints(data: Mapping[str, Any]) -> Iterator[Complaint]:
    """Every problem of `deploy.rollback_when`, `alerts`, `notify`, `react` and `triggers`."""
    yield from _needs(data)
    for loc, text in _conditions(data):
        yield from _condition(data, loc, text)
    yield from _receivers(data)
    yield from _actions(data)
    for index, trigger in enumerate(_list(data.get("triggers"))):
        yield from _cron(_map(trigger).get("cron"), ("triggers", index, "cron"))


def _needs(data: Mapping[str, Any]) -> Iterator[Complaint]:
    for section in ("alerts", "react"):
        if data.get(section) and not data.get("deploy"):
            yield Complaint((section,), f"`{section}` is about live requests, so it needs `deploy`", at_key=True)
    if data.get("triggers") and not (data.get("data") or data.get("steps")):
        yield Complaint(("triggers",), "`triggers` start the pipeline, so there must be something to run", at_key=True)
    monitor = _map(data.get("monitor"))
    for section in ("screens", "judge", "labelling"):
        if monitor.get(section) and not monitor.get("capture"):
            yield Complaint(("monitor", section), f"`{section}` reads texts, so it needs `monitor.capture`", at_key=True)
    if (judge := _map(monitor.get("judge")).get("deployment")) is not None and judge == data.get("name"):
        yield Complaint(("monitor", "judge", "deployment"), "a model does not judge itself: name another deployment")
    for index, entry in enumerate(_list(monitor.get("drift"))):
        of_text = _map(entry).get("input") in ("words", "embedding", "language", "length")
        if of_text and not monitor.get("capture"):
            yield Complaint(("monitor", "drift", index), "this compares texts, so it needs `monitor.capture`")
        of_classes = _map(entry).get("output") in ("labels", "confidence") or _map(entry).get("feedback") is not None
        if of_classes and data.get("task") not in (None, "text-classification"):
            yield Complaint(("monitor", "drift", index), "this compares classes, which text-classification has")


def _conditions(data: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    rollback = _map(data.get("deploy")).get("rollback_when")
    for index, text in enumerate([rollback] if isinstance(rollback, str) else _list(rollback)):
        if isinstance(text, str):
            yield ("deploy", "rollback_when", index), text
    for section in ("alerts", "react"):
        for index, rule in enumerate(_list(data.get(section))):
            if isinstance(text := _map(rule).get("when"), str):
                yield (section, index, "when"), text


def _condition(data: Mapping[str, Any], loc: Loc, text: str) -> Iterator[Complaint]:
    try:
        watch = parse_watch(text)
    except GateSyntax as error:
        yield Complaint(loc, f"{show(text)}, character {error.position + 1}: {error.reason}", error.suggestion)
        return
    for reason, suggestion in missing((name for name in signals_used(watch) if name != "latency"), data):
        yield Complaint(loc, f"{show(text)}: {reason}", suggestion)
    if loc[:2] == ("deploy", "rollback_when"):
        if (wrong := untestable(watch)) is not None:
            yield Complaint(loc, f"{show(text)}: {wrong}")
    elif any(isinstance(leaf, Worse) for leaf in watch.leaves):
        yield Complaint(loc, f"{show(text)}: worse_than compares a new version with the champion: it belongs to deploy.rollback_when")


def untestable(watch: Watch) -> str | None:
    """Why a rollout cannot judge a new version by this condition; None where it can."""
    if watch.for_s:
        return "a rollout tests each request, so `for` has no meaning here; `strategy.hold` and `confidence` say how sure it must be"
    if any(len(leaves) > 1 for leaves in watch.any_of):
        return "write conditions of their own instead of `and`: any of them sends the version back"
    for leaf in watch.leaves:
        if isinstance(leaf, Comparison) and (wrong := _comparison(leaf)) is not None:
            return wrong
        if isinstance(leaf, Alarm) and not leaf.signal.startswith("drift"):
            return f"{leaf.signal} has no limit of its own: compare it with a number"
    return None


def _comparison(leaf: Leaf) -> str | None:
    assert isinstance(leaf, Comparison)
    if not (isinstance(leaf.left, Metric) and isinstance(leaf.right, Number)) or leaf.sign not in ("<", "<=", ">", ">="):
        return "write it as SIGNAL > NUMBER or SIGNAL < NUMBER"
    name = leaf.left.key
    if name in TESTABLE or name == "cost.request" or name.endswith("_rate"):
        return None
    return f"{name} is no signal of single requests (those are: {', '.join(TESTABLE)}, cost.request)"


def _receivers(data: Mapping[str, Any]) -> Iterator[Complaint]:
    known = list(_map(_map(data.get("notify")).get("receivers")))
    for index, rule in enumerate(_list(data.get("alerts"))):
        for place, name in enumerate(_list(_map(rule).get("send"))):
            if isinstance(name, str) and name not in known:
                listed = ", ".join(known) or "none"
                reason = f"no receiver is called {show(name)} (under notify.receivers: {listed})"
                yield Complaint(("alerts", index, "send", place), reason, nearest(name, known))


def _actions(data: Mapping[str, Any]) -> Iterator[Complaint]:
    for index, reaction in enumerate(_list(data.get("react"))):
        asked = _map(reaction).get("do")
        actions = [asked] if isinstance(asked, str) else _list(asked)
        wants = _map(_map(reaction).get("with")).get("data", "captured+feedback")
        if "retrain" in actions and wants != "feedback" and not _map(data.get("monitor")).get("capture"):
            yield Complaint(("react", index, "do"), "retrain takes rows from captured requests, so it needs `monitor.capture`")


def _cron(text: Any, loc: Loc) -> Iterator[Complaint]:
    if not isinstance(text, str):
        return
    parts = text.split()
    if len(parts) != len(_FIELDS):
        yield Complaint(loc, f"{show(text)} has {len(parts)} fields; write five: {' '.join(_FIELDS)}")
        return
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        names = dict(zip(_FIELDS, parts, strict=True))
        field = str(error).removeprefix("Bad ")
        yield Complaint(loc, f"{show(text)}: {show(names.get(field, text))} is no {field or 'time that ever comes'} of a cron line")


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
