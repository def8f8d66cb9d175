"""What is seen of a deployment at one moment: its signals, the latest and the last hour of them, versions, alerts, the watcher's health."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.control.gateway import present_route
from penstock.control.split import live_of
from penstock.control.watch.contract import KEEP_S
from penstock.control.watch.health import watcher_state
from penstock.core.errors import NotFound
from penstock.core.home import Home
from penstock.store.resources import Resource
from penstock.store.signals import Signal
from penstock.store.store import Store

STALE_WINDOWS = 3  # a signal that is older by so many windows than the newest of the deployment is one of the past


@dataclass(frozen=True, slots=True)
class Line:
    """One signal of one place: its newest row, and its values over the time that was asked for, oldest first."""

    signal: Signal
    values: Sequence[float]

    def as_json(self) -> dict[str, Any]:
        signal = self.signal
        return {name: getattr(signal, name) for name in signal.__slots__} | {"evidence": dict(signal.evidence), "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Board:
    """`shares`: of requests by version that serves. `lines`: by place and name, those of the present. `watcher`: None: it never ran."""

    deployment: str
    phase: str
    at: float
    shares: Mapping[str, float]
    shadow: str | None
    lines: Mapping[tuple[str, str, str], Line] = field(default_factory=dict)  # (name, version, slice)
    alerts: Sequence[Mapping[str, Any]] = ()
    watcher: Mapping[str, Any] | None = None

    def line(self, name: str, version: str = "", part: str = "") -> Line | None:
        return self.lines.get((name, version, part))

    def value(self, name: str, version: str = "", part: str = "") -> float | None:
        found = self.line(name, version, part)
        return None if found is None else found.signal.value

    @property
    def limited(self) -> list[Line]:
        """Signals with a limit of their own, such as those of drift; the ones over it first."""
        found = [line for line in self.lines.values() if line.signal.limit is not None]
        return sorted(found, key=lambda line: (not line.signal.over, line.signal.name, line.signal.version, line.signal.slice))

    def as_json(self) -> dict[str, Any]:
        return {
            "deployment": self.deployment,
            "phase": self.phase,
            "at": self.at,
            "shares": dict(self.shares),
            "shadow": self.shadow,
            "signals": [line.as_json() for line in self.lines.values()],
            "alerts": list(self.alerts),
            "watcher": self.watcher,
        }


def board_of(store: Store, home: Home, row: Resource, now: float, since_s: float) -> Board:
    window = float(row.spec.get("deploy", {}).get("monitor", {}).get("window", 60.0))
    lines = present(lines_of(store.signals.read(row.name, since=now - since_s, until=now)), window)
    route = present_route(home, row.name)[0]
    return Board(
        row.name,
        row.phase,
        now,
        {str(part.version): part.weight for part in live_of(row.status)},
        route.shadow.version if route is not None and route.shadow is not None else None,
        {(*line.signal.place,): line for line in lines},
        firing(store, row.name),
        watcher_state(home.folder),
    )


def lines_of(signals: Sequence[Signal]) -> list[Line]:
    """From rows, oldest first, to one line a name, version and slice."""
    found: dict[tuple[str, str, str], list[Signal]] = {}
    for signal in signals:
        found.setdefault(signal.place, []).append(signal)
    return [Line(rows[-1], [row.value for row in rows]) for _, rows in sorted(found.items(), key=lambda item: (item[0][1:], item[0][0]))]


def present(lines: Sequence[Line], window_s: float) -> list[Line]:
    """Without what nothing is told of any more: a version that served before, the latency of requests that ceased.

    Feedback and what has a limit of its own come now and then: the last of them stands.
    """
    oldest = max((line.signal.at for line in lines), default=0.0) - STALE_WINDOWS * window_s

    def there(signal: Signal) -> bool:
        rare = signal.limit is not None or (signal.name.startswith("live.") and not signal.version and not signal.slice)
        return rare or signal.at > oldest

    return [line for line in lines if there(line.signal)]


def firing(store: Store, deployment: str) -> list[dict[str, Any]]:
    """Alerts of the deployment that fire, newest first."""
    rows = store.resources.list("alert", name=deployment, phase="firing")
    about = [{name: row.spec.get(name) for name in ("alert", "severity", "version", "slice")} for row in rows]
    seen = [{"message": row.status.get("message", ""), "since": row.status.get("since", row.created_at)} for row in rows]
    return [{"id": row.id, **told, **more} for row, told, more in zip(rows, about, seen, strict=True)]


def history(store: Store, home: Home, deployment: str, name: str | Collection[str], since: float, until: float) -> list[Signal]:
    """Signals over time, oldest first, of every place; further back than signals are kept, KPIs as the windows on disk tell them."""
    names = [name] if isinstance(name, str) else list(dict.fromkeys(name))
    found = store.signals.read(deployment, name=names, since=since, until=until)
    if since >= store.clock.now() - KEEP_S:
        return found
    from penstock.monitoring.windows.files import WindowFiles
    from penstock.monitoring.windows.kpis import signals_of

    first = dict.fromkeys(names, math.inf)
    for signal in reversed(found):
        first[signal.name] = signal.at
    frames = WindowFiles(home.folder / "monitor" / deployment / "windows").read(since, min(until, max(first.values())))
    older = [s for frame in frames for s in signals_of(deployment, frame.span, frame.cells) if s.at < first.get(s.name, 0.0)]
    return [*older, *found]


def watched_row(store: Store, name: str) -> Resource:
    """Raises NotFound with the names that there are."""
    rows = watched_rows(store)
    for row in rows:
        if row.name == name:
            return row
    raise NotFound(f"no deployment is called {name!r} (there are: {', '.join(row.name for row in rows) or 'none'})")


def watched_rows(store: Store) -> list[Resource]:
    """Deployments by name; of one name the newest."""
    rows = {row.name: row for row in reversed(store.resources.list("deployment", limit=1000))}
    return [rows[name] for name in sorted(rows) if rows[name].phase != "deleted"]
