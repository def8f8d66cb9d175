"""Signals, parts and alerts in words, the same in messages, commands and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from penstock.core.units import show_bytes, show_seconds
from penstock.monitoring.alerting.judging import Fact, is_share

SHARES = ("live.confidence", "host.cpu", "host.memory", "host.disk", "gpu.use", "gpu.memory")
ITEMS, LETTERS = 20, 500  # of evidence, kept


def amount(signal: str, value: float) -> str:
    """`5.2 %`, `412 ms`, `12.3 USD`, `1.3`."""
    if is_share(signal) or signal in SHARES:
        return f"{value * 100:.3g} %"
    if signal.endswith("_ms"):
        return f"{value:.4g} ms"
    if signal.startswith("cost."):
        return f"{value:.4g} USD"
    if signal.endswith("bytes_per_s"):
        return f"{show_bytes(value)}/s"
    units = {"_wh": " Wh", "_c": " °C", "_w": " W", "_per_s": "/s"}
    ending = next((unit for end, unit in units.items() if signal.endswith(end)), "")
    return f"{value:.4g}{ending}"


def place(version: str, part: str) -> str:
    """` of version 3, channel=web`; nothing for the whole."""
    named = [f"version {version}"] if version else []
    return f" of {', '.join([*named, *([part] if part else [])])}" if version or part else ""


def fact(one: Fact) -> str:
    """`error_rate is 5.2 % (limit 2 %)`."""
    limit = "" if one.limit is None else f" (limit {'' if one.sign == '>' else one.sign + ' '}{amount(one.signal, one.limit)})"
    return f"{one.signal} is {amount(one.signal, one.value)}{limit}"


def summary(facts: Sequence[Fact], version: str, part: str, held_s: float) -> str:
    """What is wrong in one line."""
    beyond = [one for one in facts if one.over] or list(facts)
    told = ", ".join(fact(one) for one in beyond) or "the condition holds"
    return f"{told}{place(version, part)}" + (f", for {show_seconds(held_s)}" if held_s > 0 else "")


def clock(at: float) -> str:
    """`2026-11-28T03:12:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def brief(value: Any) -> Any:
    """Evidence cut to a size that messages and rows can bear."""
    if isinstance(value, Mapping):
        return {str(name)[:LETTERS]: brief(item) for name, item in list(value.items())[:ITEMS]}
    if isinstance(value, (list, tuple)):
        return [brief(item) for item in value[:ITEMS]]
    return value[:LETTERS] if isinstance(value, str) else value
