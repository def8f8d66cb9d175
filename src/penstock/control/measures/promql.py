"""Measures as PromQL, for Prometheus and what speaks its language."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.control.measures.contract import Labels, Level, Measure, Quantile, Rate, Sum


@dataclass(frozen=True, slots=True)
class Scope:
    """`model`: the deployment, or a variable that stands for it. `over`: what rates are taken over, such as `1m`."""

    model: str
    over: str


def query(measure: Measure, scope: Scope) -> str:
    """The vector that the measure is, with the labels of `by`."""
    if isinstance(measure, Level):
        return f"{measure.how}{_by(measure.by)} ({selector(measure.metric, measure.where, scope.model)})"
    if isinstance(measure, Rate):
        return f"sum{_by(measure.by)} (rate({selector(measure.metric, measure.where, scope.model)}[{scope.over}]))"
    if isinstance(measure, Quantile):
        buckets = selector(f"{measure.metric}_bucket", {}, scope.model)
        return f"histogram_quantile({measure.share:g}, sum{_by(('le', *measure.by))} (rate({buckets}[{scope.over}])))"
    if isinstance(measure, Sum):
        text = query(measure.parts[0], scope)
        for part in measure.parts[1:]:
            text = f"({text} + {query(part, scope)} or {text})"
        return text
    above, whole = query(measure.part, scope), query(measure.whole, scope)
    return f"({above} or 0 * {whole}) / ({whole} > 0)"  # without the zero there is no rate of errors until the first one


def selector(metric: str, where: Labels, model: str) -> str:
    """The series of one deployment."""
    given = {"model": model, **where}
    return f"{metric}{{{','.join(_matcher(name, value) for name, value in given.items())}}}"


def duration(seconds: float) -> str:
    """Prometheus' way to write it, in whole milliseconds."""
    whole = round(seconds * 1000)
    if not whole:
        return "0s"
    return next(f"{whole // size}{unit}" for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)) if whole % size == 0)


def quoted(text: str) -> str:
    """A string literal: JSON's escapes are among those of Go, which PromQL takes."""
    return json.dumps(text, ensure_ascii=False)


def _matcher(name: str, value: str) -> str:
    return f"{name}=~{quoted(value[1:])}" if value.startswith("~") else f"{name}={quoted(value)}"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
