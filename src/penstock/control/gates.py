"""Judging gates: metrics and evidence in, verdicts out. Pure but for reading the two tables of a test against the champion."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput
from penstock.spec.gates import AllOf, AnyOf, Arithmetic, ChampionTest, Comparison, Condition, Gate, Metric, Value, metrics_in

_SIGNS = {"<=": "≤", ">=": "≥", "==": "=", "!=": "≠"}
_AGAINST = {"<": "≥", "<=": ">", ">": "≤", ">=": "<", "==": "≠", "!=": "="}


@dataclass(frozen=True, slots=True)
class ChampionEvidence:
    """Two `predictions.parquet` over the same rows: of the version to judge, and of the champion."""

    challenger: Path
    champion: Path
    version: str = "champion"  # what the champion is called in reasons


@dataclass(frozen=True, slots=True)
class Verdict:
    """`evidence` holds the numbers behind the reason, as JSON values."""

    gate_text: str
    passed: bool
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


def judge(gates: Sequence[Gate], metrics: Mapping[str, float], champion: ChampionEvidence | None = None) -> list[Verdict]:
    """One verdict a gate, in order. A gate over a metric that is missing or not finite is refused, never passed."""
    return [Verdict(gate.text, *_judged(gate.condition, metrics, champion)) for gate in gates]


_Judged = tuple[bool, str, dict[str, Any]]


def _judged(condition: Condition, metrics: Mapping[str, float], champion: ChampionEvidence | None) -> _Judged:
    if isinstance(condition, Comparison):
        return _compared(condition, metrics)
    if isinstance(condition, ChampionTest):
        return _tested(condition, champion)
    return _joined(condition, [_judged(part, metrics, champion) for part in condition.parts])


def _joined(condition: AllOf | AnyOf, parts: Sequence[_Judged]) -> _Judged:
    passed = (all if isinstance(condition, AllOf) else any)(part[0] for part in parts)
    evidence = {"parts": [{"passed": p, "reason": r, **e} for p, r, e in parts]}
    alike = isinstance(condition, AllOf) == passed  # then every part counts; else those that decided it do
    telling = parts if alike else [part for part in parts if part[0] == passed]
    return passed, "; ".join(reason for _, reason, _ in telling), evidence


def _compared(condition: Comparison, metrics: Mapping[str, float]) -> _Judged:
    used = [metric for side in (condition.left, condition.right) for metric in metrics_in(side)]
    for metric in used:
        if metric.key not in metrics:
            return False, _missing(metric, metrics), {"missing": metric.key}
    evidence = {metric.key: metrics[metric.key] for metric in used}
    try:
        left, right = _value(condition.left, metrics), _value(condition.right, metrics)
    except (ZeroDivisionError, OverflowError):
        left = right = math.nan
    if not (math.isfinite(left) and math.isfinite(right)):
        shown = ", ".join(f"{name} {value:g}" for name, value in evidence.items())
        return False, f"cannot be computed from {shown}", {name: v if math.isfinite(v) else str(v) for name, v in evidence.items()}
    passed = _holds(left, condition.sign, right)
    sign = _SIGNS.get(condition.sign, condition.sign) if passed else _AGAINST[condition.sign]
    return passed, f"{_told(condition.left, left, metrics)} {sign} {_told(condition.right, right, metrics)}", evidence


def _holds(left: float, sign: str, right: float) -> bool:
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right, "==": left == right, "!=": left != right}[sign]


def _value(value: Value, metrics: Mapping[str, float]) -> float:
    if isinstance(value, Metric):
        return float(metrics[value.key])
    if isinstance(value, Arithmetic):
        left, right = _value(value.left, metrics), _value(value.right, metrics)
        return {"+": float.__add__, "-": float.__sub__, "*": float.__mul__, "/": float.__truediv__}[value.sign](left, right)
    return float(value.value)


def _told(value: Value, computed: float, metrics: Mapping[str, float]) -> str:
    """A side as a person reads it: `accuracy 0.9244 (95 % interval 0.915–0.933)`, `0.5 × size_before_bytes = 512`, `0.90`."""
    if isinstance(value, Metric):
        name = f"{value.end} end of {value.name}" if value.end else value.name
        low, high = metrics.get(f"{value.name}.low"), metrics.get(f"{value.name}.high")
        if value.end or low is None or high is None:
            return f"{name} {_number(computed)}"
        level = metrics.get("interval.confidence")
        kind = f"{level * 100:.4g} % interval" if level else "interval"
        return f"{name} {_number(computed)} ({kind} {_short(low)}–{_short(high)})"
    return f"{_written(value)} = {_number(computed)}" if isinstance(value, Arithmetic) else _number(computed)


def _written(value: Value, inside: bool = False) -> str:
    if isinstance(value, Metric):
        return value.key
    if isinstance(value, Arithmetic):
        text = f"{_written(value.left, True)} {value.sign.replace('*', '×').replace('/', '÷')} {_written(value.right, True)}"
        return f"({text})" if inside else text
    return _number(value.value)


def _number(value: float) -> str:
    if value == int(value) and abs(value) >= 1 and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 10 else f"{value:.3f}"


def _missing(metric: Metric, metrics: Mapping[str, float]) -> str:
    near = difflib.get_close_matches(metric.key, metrics, 3, 0.5)
    if metric.end and metric.name in metrics:
        return f"metric {metric.name!r} has no confidence interval"
    hint = f"the nearest are {', '.join(near)}" if near else f"there are {', '.join(sorted(metrics)[:12]) or 'none'}"
    return f"there is no metric {metric.key!r}; {hint}"


def _tested(test: ChampionTest, champion: ChampionEvidence | None) -> _Judged:
    if champion is None:
        return True, "no champion yet", {}
    from penstock.stages.evaluate.paired import compare

    try:
        result = compare(champion.champion, champion.challenger, test)
    except BadInput as error:
        return False, f"cannot be tested against {champion.version}: {error.message}", {}
    return result.passed, result.reason, {**asdict(result), "against": champion.version}
