"""The board of signals: what the watcher measures of live requests and of feedback, and which alerts fire."""

from __future__ import annotations

from penstock.control.boards.contract import Board, Panel, Row, Series
from penstock.control.measures.contract import Level, Ratio
from penstock.control.measures.signals import measured

_EACH = ("signal", "version")
_PER = "version {version}"


def _by_version(title: str, about: str, *signals: str) -> Panel:
    """Shares, of the whole deployment's requests or of those that were rated."""
    several = len(signals) > 1
    named = [(name, f"{name}, {_PER}" if several else _PER) for name in signals]
    return Panel(title, about, "share", [Series(measured(name, by_version=True), shown) for name, shown in named])


ALERTS = Row(
    "Alerts",
    [
        Panel(
            "Firing",
            "Alerts that fire now, by rule; a rule fires on the whole deployment, and on a version or slice by itself.",
            "number",
            [Series(Level("penstock_alerts_firing", by=("alert", "severity")), "{alert} ({severity})")],
        ),
        Panel(
            "Firing now",
            "All of them together.",
            "number",
            [Series(Level("penstock_alerts_firing"), "alerts")],
            "figure",
            limit=1.0,
        ),
    ],
)
DRIFT = Row(
    "Drift",
    [
        Panel(
            "Against its limit",
            "Signals with a limit of their own, in parts of it: above 1 is drift, or an anomaly.",
            "number",
            [
                Series(
                    Ratio(Level("penstock_signal", by=_EACH, how="max"), Level("penstock_signal_limit", by=_EACH, how="max")),
                    "{signal} {version}",
                )
            ],
            limit=1.0,
        ),
        Panel(
            "Distance",
            "The distances themselves; each detector has its own scale.",
            "number",
            [Series(Level("penstock_signal", {"signal": "~drift\\..+"}, _EACH, "max"), "{signal} {version}")],
        ),
    ],
)
QUALITY = Row(
    "Quality",
    [
        _by_version("Accuracy", "Of requests whose label was told by feedback.", "live.accuracy"),
        _by_version("Score", "Mean of scores and thumbs, 0 to 1.", "live.score"),
        _by_version("Confidence", "Mean score of the best label.", "live.confidence"),
        Panel("Rated", "Requests that were rated in the last window.", "number", [Series(measured("live.rated"), "rated")]),
    ],
)
WINDOWS = Row(
    "Windows",
    [
        Panel(
            "Latency",
            "Percentiles of the last window, from sketches: exact to 1 %.",
            "milliseconds",
            [Series(measured(f"latency.{p}_ms", by_version=True), f"{p}, {_PER}") for p in ("p50", "p95", "p99")],
        ),
        _by_version("Errors and blocks", "Of the last window.", "error_rate", "blocked_rate"),
        Panel("Requests", "Answered in the last window.", "number", [Series(measured("requests", by_version=True), _PER)], "stacked"),
        Panel(
            "Machine",
            "Shares in use, where the watcher runs.",
            "share",
            [Series(measured(f"host.{part}"), part) for part in ("cpu", "memory", "disk")],
        ),
    ],
)
BOARD = Board(
    "penstock-signals",
    "Penstock: signals",
    "Drift, accuracy from feedback, alerts and the windows that they are judged on.",
    [ALERTS, DRIFT, QUALITY, WINDOWS],
)
