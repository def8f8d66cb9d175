"""The measure `screens`: shares of live texts in which a check finds something, by version; and the gap between groups that texts name.

Looks at a sample of captured texts at the end of each window. Texts are as captured: where personal data is masked before it is kept, the
check for it finds what masking missed. The gap is the largest difference of that share between two groups, over the last windows that
together hold enough texts of both; less than FEWEST texts of a group say nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from penstock.control.watch.contract import Happened, Watched
from penstock.control.watch.ending import Ends
from penstock.monitoring.wilson import bounds
from penstock.screening.groups import groups_named
from penstock.screening.table import open_check
from penstock.spec.monitor import Screen
from penstock.store.signals import Signal

FEWEST, WINDOWS = 30, 60  # texts of a group; windows that are looked back on for groups
EXAMPLES = 5
Z95 = 1.96  # standard errors on each side of a 95 % interval
Counts = dict[str, list[int]]  # by version or group: texts, findings


class Screens:
    name = "screens"

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._checks: list[tuple[Screen, Callable[[str], bool]]] = [(s, _finder(s.check)) for s in watched.monitor.screens]
        self._ends = Ends(watched.monitor.window)
        self._counts: list[Counts] = [{} for _ in self._checks]
        self._groups: list[list[Counts]] = [[{}] for _ in self._checks]  # of the last windows, the present one last
        self._examples: list[dict[str, list[str]]] = [{} for _ in self._checks]

    def fold(self, happened: Happened) -> list[Signal]:
        for record in happened.records:
            if record.get("shadow_of") is None and record.get("version") is not None:
                self._look(record)
        if (end := self._ends.passed(happened.until)) is None:
            return []
        found = [signal for place, (screen, _) in enumerate(self._checks) for signal in self._signals(place, screen, end)]
        self._counts, self._examples = [{} for _ in self._checks], [{} for _ in self._checks]
        self._groups = [[*windows, {}][-WINDOWS:] for windows in self._groups]
        return found

    def _look(self, record: Mapping[str, Any]) -> None:
        for place, (screen, finds) in enumerate(self._checks):
            text = record.get("text_in" if screen.on == "input" else "text_out")
            if not text or zlib.crc32(f"{screen.check} {record['id']}".encode()) >= screen.sample * 0x1_0000_0000:
                continue
            hit = finds(text)
            _count(self._counts[place], str(record["version"]), hit)
            if hit:
                examples = self._examples[place].setdefault(str(record["version"]), [])
                examples += [record["id"]] if len(examples) < EXAMPLES else []
            if screen.groups:
                for group in groups_named(f"{record.get('text_in') or ''} {text}"):
                    _count(self._groups[place][-1], group, hit)

    def _signals(self, place: int, screen: Screen, at: float) -> list[Signal]:
        name, deployment = f"{screen.check}_rate", self._watched.deployment
        counts = self._counts[place]
        found = []
        for version, (texts, hits) in [*sorted(counts.items()), ("", _sum(counts))]:
            if texts:
                low, high = bounds(hits / texts, texts, Z95)
                ids = self._examples[place].get(version, []) if version else [i for ids in self._examples[place].values() for i in ids]
                evidence = {"on": screen.on, "examples": ids[:EXAMPLES]}
                found.append(Signal(deployment, name, at, hits / texts, float(texts), version, "", None, low, high, evidence))
        if screen.groups and (gap := _gap(self._groups[place])) is not None:
            value, texts, evidence = gap
            found.append(Signal(deployment, f"{screen.check}.group_gap", at, value, float(texts), evidence=evidence))
        return found

    def state(self) -> bytes:
        return json.dumps([self._ends.last, self._counts, self._groups, self._examples, [s.model_dump() for s, _ in self._checks]]).encode()

    def restore(self, state: bytes) -> None:
        """Raises ValueError, also for a state of other screens."""
        try:
            ended, counts, groups, examples, screens = json.loads(state)
        except TypeError as error:
            raise ValueError(f"no state of screens: {error}") from error
        if screens != [s.model_dump() for s, _ in self._checks]:
            raise ValueError("the screens were changed; their windows start anew")
        self._ends.last, self._counts, self._groups, self._examples = float(ended), counts, groups, examples


def make(watched: Watched) -> Screens | None:
    return Screens(watched) if watched.monitor.screens else None


def _finder(check: str) -> Callable[[str], bool]:
    opened = open_check(check)
    return lambda text: bool(opened.find(text))


def _count(counts: Counts, name: str, hit: bool) -> None:
    row = counts.setdefault(name, [0, 0])
    row[0] += 1
    row[1] += hit


def _sum(counts: Counts) -> tuple[int, int]:
    return sum(row[0] for row in counts.values()), sum(row[1] for row in counts.values())


def _gap(windows: list[Counts]) -> tuple[float, int, dict[str, Any]] | None:
    """(largest difference, texts, evidence) over the windows together; None without two groups of enough texts."""
    total: Counts = {}
    for counts in windows:
        for group, (texts, hits) in counts.items():
            row = total.setdefault(group, [0, 0])
            row[0], row[1] = row[0] + texts, row[1] + hits
    rates = {group: (hits / texts, texts) for group, (texts, hits) in total.items() if texts >= FEWEST}
    if len(rates) < 2:
        return None
    most, least = max(rates, key=lambda g: (rates[g][0], g)), min(rates, key=lambda g: (rates[g][0], g))
    shown = {group: {"rate": round(rate, 4), "texts": texts} for group, (rate, texts) in sorted(rates.items())}
    value = rates[most][0] - rates[least][0]
    return value, sum(texts for _, texts in rates.values()), {"most": most, "least": least, "groups": shown}
