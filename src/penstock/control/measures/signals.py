"""Where each signal is found at the gateway's `/metrics`.

Rates come from the gateway's own counters, so that they are known also while the watcher is down; the rest from what the watcher writes.
So do latencies: the histograms' buckets are far apart, and a limit between two of them would be judged on a guess.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.control.measures.contract import Level, Measure, Rate, Ratio, Sum, split
from penstock.spec.signals import ALWAYS, OF_CLASSES

VERSION = ("version",)
REQUESTS = Rate("penstock_requests_total")
FAILED = Rate("penstock_failed_total")
HIDDEN = Rate("penstock_hidden_failures_total")
DRAWN = split(Sum([HIDDEN, REQUESTS]), VERSION)  # requests that a version had a part in
BLAMED = split(Ratio(Sum([HIDDEN, FAILED]), Sum([HIDDEN, REQUESTS])), VERSION)  # those of them that it failed, whatever the client was told
COUNTED: Mapping[str, Measure] = {
    "requests_per_s": REQUESTS,
    "error_rate": Ratio(FAILED, REQUESTS),
    "refused_rate": Ratio(Rate("penstock_requests_total", {"status": "~4[0-8].|49[0-8]"}), REQUESTS),
    "gone_rate": Ratio(Rate("penstock_requests_total", {"status": "499"}), REQUESTS),
    "tokens_per_s": Rate("penstock_tokens_total", {"direction": "completion"}),
    "replicas.ready": Level("penstock_replicas", {"state": "up"}),
}


def measured(name: str, *, by_version: bool = False) -> Measure:
    """A signal of the whole deployment, or of each version; one that there is by version only, such as drift, is told by the worst."""
    if (counted := COUNTED.get(name)) is not None:
        return split(counted, VERSION) if by_version else counted
    if by_version:
        return Level("penstock_signal", {"signal": name, "version": "~.+"}, VERSION, "max")
    whole = {"version": ""} if name in ALWAYS or name in OF_CLASSES or name == "live.judge" else {}
    return Level("penstock_signal", {"signal": name, **whole}, (), "max")
