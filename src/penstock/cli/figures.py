"""Metrics as people read them: an interval beside its number, bytes as sizes, the few that matter first."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

from penstock.core.units import show_bytes

if TYPE_CHECKING:
    from penstock.store.signals import Signal

HEADLINE = ("accuracy", "macro_f1", "bits_per_character", "perplexity", "latency.p95_ms")
AT_MOST = 4
SHARES = ("host.cpu", "host.memory", "host.disk", "gpu.use", "gpu.memory")


def figure(name: str, value: float) -> str:
    return show_bytes(int(value)) if name.endswith("_bytes") else f"{value:.4g}"


def signal_figure(name: str, value: float) -> str:
    """A signal's value in its unit: shares as percent, times in ms, money in USD."""
    if name.endswith(("_rate", ".accuracy", ".score", ".judge", ".confidence")) or name in SHARES:
        return f"{value * 100:.3g} %"
    if name.endswith("_ms"):
        return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
    if name.startswith("cost."):
        return f"{value:,.2f} USD" if value >= 1 else f"{value:.3g} USD"
    if name.endswith("_bytes_per_s"):
        return f"{show_bytes(value)}/s"
    unit = next((unit for ending, unit in (("_wh", " Wh"), ("_c", " °C"), ("_w", " W"), ("_per_s", "/s")) if name.endswith(ending)), "")
    return f"{value:,.0f}{unit}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}{unit}"


def interval(signal: Signal) -> str:
    """Between which values the true one lies; empty where that is not known."""
    if signal.low is None or signal.high is None:
        return ""
    return f"{signal_figure(signal.name, signal.low)} – {signal_figure(signal.name, signal.high)}"


def is_end(name: str, metrics: Container[str]) -> bool:
    """Whether `name` is an end of another metric's interval."""
    base, _, end = name.rpartition(".")
    return end in ("low", "high") and base in metrics


def listed(metrics: Mapping[str, float]) -> list[str]:
    """Every metric in a line of its own, by name; `accuracy 0.9295 (0.92–0.938)` where it has an interval."""
    lines = []
    for name, value in sorted(metrics.items()):
        if is_end(name, metrics):
            continue
        low, high = metrics.get(f"{name}.low"), metrics.get(f"{name}.high")
        interval = "" if low is None or high is None else f" ({figure(name, low)}–{figure(name, high)})"
        lines.append(f"{name} {figure(name, value)}{interval}")
    return lines


def headline(metrics: Mapping[str, float]) -> str:
    """The metrics that people look at first; of a pipeline that has none of these, the first few. Empty without metrics."""
    shown = [name for name in HEADLINE if name in metrics] or sorted(metrics)[:AT_MOST]
    return "  ".join(f"{name} {figure(name, metrics[name])}" for name in shown)
