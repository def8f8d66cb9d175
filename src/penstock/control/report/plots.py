"""The pictures of a report, in order; one without a value in the time is left out."""

from __future__ import annotations

from penstock.control.report.contract import Plot

PLOTS = (
    Plot("Requests", "a second", ("requests_per_s",), by_version=True),
    Plot(
        "Errors", "% of requests", ("error_rate",), by_version=True, scale=100.0, told="worst", about="Failed by the server's fault (5xx)."
    ),
    Plot("Latency", "milliseconds", ("latency.p50_ms", "latency.p95_ms", "latency.p99_ms"), told="worst"),
    Plot("Latency by version, p95", "milliseconds", ("latency.p95_ms",), by_version=True, whole_else=False, told="worst"),
    Plot("Time to the first token", "milliseconds", ("first_token.p50_ms", "first_token.p95_ms"), told="worst"),
    Plot("Tokens written", "a second", ("tokens_per_s",), by_version=True),
    Plot("Refused, gone, blocked", "% of requests", ("refused_rate", "gone_rate", "blocked_rate"), scale=100.0, told="worst"),
    Plot("Accuracy, from feedback", "% of labelled", ("live.accuracy",), by_version=True, scale=100.0, from_zero=False),
    Plot("Score, from feedback", "0 to 1", ("live.score", "live.judge"), from_zero=False),
    Plot(
        "Drift and anomalies",
        "parts of the limit",
        against_limit=True,
        told="worst",
        about="Above 1 a signal is over its own limit; the worst of all versions.",
    ),
    Plot("Cost", "USD in the last hour", ("cost.hour",)),
    Plot("Replicas", "ready", ("replicas.ready",), by_version=True),
)
NAMES = tuple(dict.fromkeys(name for plot in PLOTS for name in plot.of))
FIGURES = ("requests", "error_rate", "latency.p95_ms", "live.accuracy", "cost.request")  # the tiles are made of these
