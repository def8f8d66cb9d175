"""Counters, gauges and latency histograms of one process, in Prometheus' text format (version 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
Labels = tuple[tuple[str, str], ...]


class Family:
    """All series of one name."""

    def __init__(self, name: str, kind: str, help_text: str) -> None:
        self.name, self.kind, self.help = name, kind, help_text
        self.series: dict[Labels, float] = {}

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        self.series[labels] = self.series.get(labels, 0.0) + amount

    def set(self, labels: Labels, value: float) -> None:
        self.series[labels] = value

    def render(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"
        for labels, value in self.series.items():
            yield f"{self.name}{_braces(labels)} {_figure(value)}\n"


class Histogram:
    """Latencies in seconds, by labels."""

    def __init__(self, name: str, help_text: str) -> None:
        self.name, self.help = name, help_text
        self.series: dict[Labels, tuple[list[int], list[float]]] = {}  # counts per bucket (last: above all), [sum]

    def observe(self, labels: Labels, seconds: float) -> None:
        found = self.series.get(labels)
        if found is None:
            found = self.series[labels] = ([0] * (len(BUCKETS_S) + 1), [0.0])
        found[0][bisect_left(BUCKETS_S, seconds)] += 1
        found[1][0] += seconds

    def absorb(self, labels: Labels, counts: Iterable[int], seconds: float) -> None:
        """Adds many at once."""
        own, total = self.series.setdefault(labels, ([0] * (len(BUCKETS_S) + 1), [0.0]))
        own[:] = [a + b for a, b in zip(own, counts, strict=True)]
        total[0] += seconds

    def render(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.help}\n# TYPE {self.name} histogram\n"
        for labels, (counts, total) in self.series.items():
            below = 0
            for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
                below += count
                yield f"{self.name}_bucket{_braces((*labels, ('le', bound)))} {below}\n"
            yield f"{self.name}_sum{_braces(labels)} {_figure(total[0])}\n{self.name}_count{_braces(labels)} {below}\n"


class RequestMetrics:
    """What gateway and replica both count. `prefix` is `penstock` or `penstock_replica`."""

    def __init__(self, prefix: str) -> None:
        self.requests = Family(f"{prefix}_requests_total", "counter", "Requests answered.")
        self.seconds = Histogram(f"{prefix}_request_seconds", "From the first byte of the request to the last of the answer.")
        self.tokens = Family(f"{prefix}_tokens_total", "counter", "Tokens read (prompt) and written (completion).")
        self.first_seconds = Histogram(f"{prefix}_first_token_seconds", "From the request's first byte to the first event of a stream.")
        self.hidden: dict[Labels, float] = {}
        self.gauges: dict[str, Family] = {}
        self._prefix = prefix
        self._token_labels: dict[tuple[str, str], tuple[Labels, Labels]] = {}
        self._done: dict[tuple[str, str, str, int], tuple[list[int], list[float]]] = {}  # not in the families yet; as in Histogram

    def done(self, route: str, model: str, version: str, status: int, seconds: float) -> None:
        found = self._done.get((route, model, version, status))
        if found is None:
            found = self._done[route, model, version, status] = ([0] * (len(BUCKETS_S) + 1), [0.0])
        found[0][bisect_left(BUCKETS_S, seconds)] += 1
        found[1][0] += seconds

    def first(self, model: str, version: str, seconds: float) -> None:
        """A stream began."""
        self.first_seconds.observe((("model", model), ("version", version)), seconds)

    def used(self, model: str, version: str, prompt: int, completion: int) -> None:
        labels = self._token_labels.get((model, version))
        if labels is None:
            base = (("model", model), ("version", version))
            labels = self._token_labels[model, version] = ((*base, ("direction", "prompt")), (*base, ("direction", "completion")))
        if prompt:
            self.tokens.add(labels[0], prompt)
        if completion:
            self.tokens.add(labels[1], completion)

    def blamed(self, model: str, version: str) -> None:
        """The version failed, and the client saw nothing of it: another attempt was answered."""
        labels = (("model", model), ("version", version))
        self.hidden[labels] = self.hidden.get(labels, 0.0) + 1

    def gauge(self, name: str, help_text: str, series: Mapping[Labels, float], kind: str = "gauge") -> None:
        """Sets all series of a gauge at once; those that are gone disappear."""
        family = self.gauges[name] = Family(f"{self._prefix}_{name}", kind, help_text)
        family.series.update(series)

    def dump(self) -> dict[str, Any]:
        """The counts as JSON values, for `absorb`."""
        self._gather()
        return {
            "requests": [[labels, value] for labels, value in self.requests.series.items()],
            "tokens": [[labels, value] for labels, value in self.tokens.series.items()],
            "hidden": [[labels, value] for labels, value in self.hidden.items()],
            "seconds": [[labels, counts, total[0]] for labels, (counts, total) in self.seconds.series.items()],
            "first": [[labels, counts, total[0]] for labels, (counts, total) in self.first_seconds.series.items()],
        }

    def absorb(self, dumped: Mapping[str, Any]) -> None:
        """Adds what another process counted."""
        for family, name in ((self.requests, "requests"), (self.tokens, "tokens")):
            for labels, value in dumped[name]:
                family.add(_labels(labels), value)
        for labels, value in dumped["hidden"]:
            self.hidden[_labels(labels)] = self.hidden.get(_labels(labels), 0.0) + value
        for histogram, name in ((self.seconds, "seconds"), (self.first_seconds, "first")):
            for labels, counts, total in dumped[name]:
                histogram.absorb(_labels(labels), counts, total)

    def render(self) -> bytes:
        self._gather()
        parts = [*self.requests.render(), *self.seconds.render(), *self.first_seconds.render(), *self.tokens.render()]
        for family in self.gauges.values():
            parts.extend(family.render())
        return "".join(parts).encode()

    def _gather(self) -> None:
        """Puts what is done into the families: at each request that would take twice the time."""
        for (route, model, version, status), (counts, total) in self._done.items():
            base = (("route", route), ("model", model), ("version", version))
            self.requests.add((*base, ("status", str(status))), sum(counts))
            self.seconds.absorb(base, counts, total[0])
        self._done.clear()


def _labels(value: Iterable[Iterable[str]]) -> Labels:
    return tuple((name, text) for name, text in value)


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _figure(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
