"""Conditions of the file as PromQL: `error_rate > 2% and requests > 100` and the like. Pure.

An expression has a value where the condition holds, and none where it does not or nobody knows. What Prometheus cannot tell is refused with
the reason; nothing is said in half.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from penstock.control.measures.contract import Level, Measure
from penstock.control.measures.promql import Scope, query, selector
from penstock.control.measures.signals import COUNTED, measured
from penstock.spec.conditions import Arithmetic, Comparison, Metric, Number, Value, metrics_in
from penstock.spec.watches import Alarm, Leaf, Watch, Worse

BLAMED = "model_version:penstock_blamed_rate:window"
DRAWN = "model_version:penstock_drawn_per_s:window"
Find = Callable[[str], Measure]


class Inexpressible(ValueError):
    """Why, in words that follow "it"."""


def recorded(signal: str, *, by_version: bool = False) -> str:
    """The series that the recording rules make of a counted signal, named as Prometheus' guide has it: level, metric, operation."""
    return f"model{'_version' if by_version else ''}:penstock_{signal.replace('.', '_')}:window"


def alert(watch: Watch, scope: Scope) -> str:
    """Of the whole deployment. Raises Inexpressible."""
    return " or ".join(_joined([_leaf(leaf, scope) for leaf in leaves]) for leaves in watch.any_of)


def rollback(leaf: Leaf, scope: Scope, least_per_s: float) -> str:
    """Of each version that shares the traffic and was asked so often at least. Raises Inexpressible."""
    if isinstance(leaf, Worse):
        raise Inexpressible("compares single requests of both versions, and the metrics hold neither those nor who the champion is")
    if isinstance(leaf, Alarm):
        held = _over(leaf.signal, scope)
    else:
        held = f"{_side(leaf.left, scope, _of_version)} {leaf.sign} {_side(leaf.right, scope, _of_version)}"
    shared = selector("penstock_traffic_weight", {}, scope.model)
    asked = selector(DRAWN, {}, scope.model)
    return f"{held} and on (version) ({shared} > 0 < 1) and on (version) {asked} >= {least_per_s:.6g}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else " and on () ".join(f"({part})" for part in parts)


def _leaf(leaf: Leaf, scope: Scope) -> str:
    if isinstance(leaf, Alarm):
        return _over(leaf.signal, scope)
    assert isinstance(leaf, Comparison)
    if not [*metrics_in(leaf.left), *metrics_in(leaf.right)]:
        raise Inexpressible("reads no signal")
    return f"{_side(leaf.left, scope, _whole)} {leaf.sign} {_side(leaf.right, scope, _whole)}"


def _over(signal: str, scope: Scope) -> str:
    """Of each version, whether it is over its own limit."""
    value, limit = (selector(name, {"signal": signal}, scope.model) for name in ("penstock_signal", "penstock_signal_limit"))
    return f"max by (version) ({value} > {limit})"


def _side(value: Value, scope: Scope, find: Find) -> str:
    if isinstance(value, Number):
        return json.dumps(value.value)
    if isinstance(value, Metric):
        if value.end is not None:
            raise Inexpressible(f"reads {value.key}, the end of an interval, and the metrics hold values only")
        return query(find(value.name), scope)
    assert isinstance(value, Arithmetic)
    return f"({_side(value.left, scope, find)} {value.sign} {_side(value.right, scope, find)})"


def _whole(signal: str) -> Measure:
    return Level(recorded(signal), {}, (), "max") if signal in COUNTED else measured(signal)


def _of_version(signal: str) -> Measure:
    """A version is judged by all that it failed, as its roll-out judges it; a failure that was hidden from the client is one."""
    if signal == "error_rate":
        return Level(BLAMED, {}, ("version",), "max")
    if signal in COUNTED:
        return Level(recorded(signal, by_version=True), {}, ("version",), "max")
    return measured(signal, by_version=True)
