"""The board of a deployment: what the gateway counts, by version."""

from __future__ import annotations

from penstock.control.boards.contract import Board, Panel, Row, Series
from penstock.control.measures.contract import Level, Quantile, Rate, split
from penstock.control.measures.signals import HIDDEN, REQUESTS, VERSION, measured

_PER = "version {version}"


def _counts(*names: tuple[str, str]) -> list[Series]:
    """Counters of the whole deployment: (metric, what it is called)."""
    return [Series(Rate(f"penstock_{metric}_total"), named) for metric, named in names]


def _quantiles(metric: str, *shares: float) -> list[Series]:
    return [Series(Quantile(share, metric, VERSION), f"p{share * 100:g}, {_PER}") for share in shares]


TRAFFIC = Row(
    "Traffic",
    [
        Panel(
            "Requests",
            "Answered a second, by the version that answered; without one: refused before a version was chosen.",
            "requests/s",
            [Series(measured("requests_per_s", by_version=True), _PER)],
            "stacked",
        ),
        Panel(
            "Roll-out",
            "The share of requests that each version is given.",
            "share",
            [Series(Level("penstock_traffic_weight", by=VERSION), _PER)],
            "stacked",
        ),
        Panel(
            "Answers",
            "By status: 499 is a client that went away.",
            "requests/s",
            [Series(split(REQUESTS, ("status",)), "{status}")],
            "stacked",
        ),
    ],
)
ERRORS = Row(
    "Errors",
    [
        Panel(
            "Error rate",
            "Share of requests that failed by the server's fault (5xx).",
            "share",
            [Series(measured("error_rate", by_version=True), _PER)],
        ),
        Panel(
            "Hidden failures",
            "A second, of the version that failed: another attempt was answered, so clients saw nothing of it.",
            "requests/s",
            [Series(split(HIDDEN, VERSION), _PER)],
        ),
        Panel(
            "Refused and gone",
            "Shares of requests that were refused (4xx), and whose client went away.",
            "share",
            [Series(measured("refused_rate"), "refused"), Series(measured("gone_rate"), "gone")],
        ),
        Panel(
            "Saved and lost",
            "What the gateway did about slow, failing or full replicas.",
            "requests/s",
            _counts(("retries", "retried"), ("hedged", "hedged"), ("fallback", "fell back"), ("silent", "no first byte"), ("shed", "shed")),
        ),
    ],
)
LATENCY = Row(
    "Latency",
    [
        Panel(
            "Time of an answer",
            "From the request's first byte to the answer's last; as well as the histogram's buckets tell.",
            "seconds",
            _quantiles("penstock_request_seconds", 0.5, 0.95, 0.99),
        ),
        Panel(
            "Time to the first token",
            "Of streams: from the request's first byte to the first event.",
            "seconds",
            _quantiles("penstock_first_token_seconds", 0.5, 0.95),
        ),
        Panel(
            "In line",
            "Requests that wait for a replica with room, and for the first replica of a deployment that slept.",
            "number",
            [Series(Level("penstock_waiting"), "waiting"), Series(Level("penstock_held"), "held")],
        ),
    ],
)
TOKENS = Row(
    "Tokens and money",
    [
        Panel("Tokens written", "A second.", "tokens/s", [Series(measured("tokens_per_s", by_version=True), _PER)], "stacked"),
        Panel(
            "Tokens read",
            "A second.",
            "tokens/s",
            [Series(Rate("penstock_tokens_total", {"direction": "prompt"}, VERSION), _PER)],
            "stacked",
        ),
        Panel(
            "Cost",
            "By the prices of `deploy.price`; days and months are UTC's.",
            "USD",
            [Series(measured(f"cost.{span}"), f"this {span}") for span in ("hour", "day", "month")],
        ),
        Panel("Cost of a request", "Mean of the last window.", "USD", [Series(measured("cost.request", by_version=True), _PER)]),
    ],
)
REPLICAS = Row(
    "Replicas",
    [
        Panel(
            "Replicas",
            "Down: the gateway's circuit to it is open.",
            "number",
            [Series(Level("penstock_replicas", by=("state", "version")), "{state}, " + _PER)],
        ),
        Panel(
            "Processors",
            "Cores that the replicas keep busy.",
            "cores",
            [Series(Rate("penstock_process_cpu_seconds_total", {"process": "replica"}, VERSION), _PER)],
        ),
        Panel(
            "Memory",
            "Resident, of the replicas.",
            "bytes",
            [Series(Level("penstock_process_resident_bytes", {"process": "replica"}, VERSION), _PER)],
        ),
        Panel(
            "Power",
            "Of the replicas, estimated.",
            "watts",
            [Series(Rate("penstock_process_joules_total", {"process": "replica"}, VERSION), _PER)],
        ),
    ],
)
BOARD = Board(
    "penstock-deployment",
    "Penstock: a deployment",
    "Requests, errors, latency, tokens, cost and roll-out by version, from the gateway's own counts.",
    [TRAFFIC, ERRORS, LATENCY, TOKENS, REPLICAS],
)
