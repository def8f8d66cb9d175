"""Metrics as people read them: an interval beside its number, bytes as sizes, the few that matter first."""

from __future__ import annotations

from collections.abc import Container, Mapping

from penstock.core.units import show_bytes

HEADLINE = ("accuracy", "macro_f1", "bits_per_character", "perplexity", "latency.p95_ms")
AT_MOST = 4


def figure(name: str, value: float) -> str:
    return show_bytes(int(value)) if name.endswith("_bytes") else f"{value:.4g}"


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
