"""The signals of a deployment: their names, their units, and which of them a pipeline will have, as far as its file tells.

A signal is a number measured over a window. Names are flat, as in conditions: `error_rate`, `latency.p95_ms`, `drift.words`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

# What each signal is; its unit where its name does not say it. A rate or share is 0-1.
ALWAYS: Mapping[str, str] = {
    "requests": "requests answered in the window",
    "requests_per_s": "requests a second",
    "tokens_per_s": "tokens written a second",
    "error_rate": "share of requests that failed by the server's fault (status 5xx)",
    "refused_rate": "share of requests that were refused (status 4xx)",
    "gone_rate": "share of requests whose client went away",
    "blocked_rate": "share of requests that a guardrail stopped",
    "latency.p50_ms": "median time of an answer",
    "latency.p95_ms": "95th percentile of the time of an answer",
    "latency.p99_ms": "99th percentile of the time of an answer",
    "first_token.p50_ms": "median time to the first byte of an answer",
    "first_token.p95_ms": "95th percentile of the time to the first byte",
    "queue.p95_ms": "95th percentile of the time before a request was sent to a replica",
    "retried_rate": "share of requests that needed more than one attempt",
    "cost.request": "USD a request, mean",
    "cost.hour": "USD in the last hour",
    "cost.day": "USD since midnight (UTC)",
    "cost.month": "USD since the first of the month (UTC)",
    "energy.request_wh": "watt-hours a request, mean, estimated",
    "live.score": "mean score of feedback, 0 to 1",
    "live.rated": "requests that were rated in the window",
    "replicas.ready": "replicas that can answer",
    "host.cpu": "share of the processors in use",
    "host.memory": "share of memory in use",
    "host.disk": "share of the disk in use that holds the home",
    "host.network_bytes_per_s": "bytes a second, sent and received",
    "gpu.use": "share of time that the busiest GPU worked",
    "gpu.memory": "share of memory in use of the fullest GPU",
    "gpu.temperature_c": "degrees Celsius of the hottest GPU",
    "gpu.power_w": "watts of all GPUs",
}
OF_CLASSES: Mapping[str, str] = {
    "live.accuracy": "share of rated requests whose label was right",
    "live.confidence": "mean score of the best label",
}
DRIFT = ("drift.words", "drift.embedding", "drift.length", "drift.language", "drift.output.labels", "drift.output.confidence")
DRIFT_MORE = ("drift.output.length", "drift.feedback.labels", "drift.feedback.errors")
SUMMARIES = {"drift.input": "input", "drift.output": "output", "drift.feedback": "feedback", "drift.metadata": "metadata", "drift": ""}
SCREENS = ("toxicity", "injection", "personal_data")
PROPORTIONS = ("error_rate", "refused_rate", "gone_rate", "blocked_rate", "retried_rate", "live.accuracy", "live.score", "live.judge")
# Signals of one request each, which a rollout can test on the new version's own requests.
TESTABLE = (*PROPORTIONS, "latency.p50_ms", "latency.p95_ms", "latency.p99_ms", "first_token.p50_ms", "first_token.p95_ms", "queue.p95_ms")
COMPARABLE = ("error_rate", "live.accuracy", "live.score", "latency")
NEAR = 0.6


def known(data: Mapping[str, Any]) -> list[str]:
    """Names of the signals that the pipeline of these values has."""
    monitor = _map(data.get("monitor"))
    names = list(ALWAYS)
    if data.get("task") == "text-classification":
        names += OF_CLASSES
    drift = drift_signals(monitor)
    if drift:
        kinds = {"": True} | {kind: any(_kind(name) == kind for name in drift) for kind in ("input", "output", "feedback", "metadata")}
        names += [*drift, *(name for name, kind in SUMMARIES.items() if kinds[kind])]
    for screen in _list(monitor.get("screens")):
        check = screen if isinstance(screen, str) else _map(screen).get("check")
        if check in SCREENS:
            names.append(f"{check}_rate")
            if _map(screen).get("groups"):
                names.append(f"{check}.group_gap")
    if monitor.get("labelling"):
        names.append("labelling.open")
    if monitor.get("judge"):
        names.append("live.judge")
    if monitor.get("anomalies"):
        names.append("anomaly")
    return list(dict.fromkeys(names))


def drift_signals(monitor: Mapping[str, Any]) -> list[str]:
    """Names of the drift signals that a `monitor` section (plain values) declares."""
    found = []
    for entry in _list(monitor.get("drift")):
        for kind in ("input", "output", "feedback", "metadata"):
            value = _map(entry).get(kind)
            if isinstance(value, str):
                found.append(f"drift.{value}" if kind == "input" else f"drift.{kind}.{value}")
    return found


def missing(names: Iterable[str], data: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(reason, nearest spelling) for each signal that the pipeline of these values will not have."""
    there = known(data)
    for name in names:
        if name in there:
            continue
        if name in OF_CLASSES:
            yield f"{name} is a signal of text-classification", None
        elif name.startswith("drift"):
            near = difflib.get_close_matches(name, [*DRIFT, *DRIFT_MORE, *SUMMARIES], 1, NEAR)
            if near and near[0] != name:
                yield f"no signal is called {name!r}", near[0]
            else:
                yield f"{name} is not measured: add what it compares to monitor.drift, such as {_declare(name)}", None
        elif name.removesuffix("_rate") in SCREENS:
            yield f"{name} is not measured: add {name.removesuffix('_rate')} to monitor.screens", None
        elif name == "live.judge":
            yield "live.judge is not measured: add a judge to monitor", None
        elif name == "anomaly":
            yield "anomaly is not measured: add a detector to monitor.anomalies", None
        else:
            near = difflib.get_close_matches(name, there, 1, NEAR)
            yield f"no signal is called {name!r}", near[0] if near else None


def _declare(name: str) -> str:
    kind, _, what = name.removeprefix("drift.").partition(".")
    if what:
        return f"{{{kind}: {what}}}"
    return {"input": "{input: words}", "output": "{output: labels}", "feedback": "{feedback: errors}", "drift": "{input: words}"}.get(
        kind, f"{{input: {kind}}}"
    )


def _kind(name: str) -> str:
    kind, _, rest = name.removeprefix("drift.").partition(".")
    return kind if rest else "input"


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
