"""All rules of one deployment, followed through its signals: rows in, turns out (a rule began to hold, fired, cleared).

A rule has a state of its own on the whole deployment and on every part (version, slice) that its signals are measured on; where one version
answers everything, what holds of it is said of the whole alone. Requests that no client waits for are no part: copies for a shadow, and
answers in another model's place.
Not covered: rows that come late, after newer ones of the same signal were followed; they are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from penstock.monitoring.alerting.judging import Judgement, judge, signals_of
from penstock.monitoring.alerting.progress import Progress, advance
from penstock.monitoring.alerting.readings import WHOLE, WINDOWS, Part, Readings
from penstock.monitoring.alerting.rules import Rule
from penstock.store.signals import Signal

GONE_S, GONE_WINDOWS = 1800.0, 10.0
ASIDE = "traffic="  # slices of such requests begin so
SILENT_S, SILENT_WINDOWS = 120.0, 5.0
Turning = Literal["held", "fired", "calmed", "cleared", "gone", "removed"]
_UNJUDGED = Judgement(None)
States = dict[tuple[str, Part], Progress]


@dataclass(frozen=True, slots=True)
class Turn:
    """`at`: the signals' time. `since`: from when on the condition has held; with rule and part it names the alert."""

    change: Turning
    rule: str
    part: Part
    at: float
    since: float
    judgement: Judgement = _UNJUDGED


@dataclass(slots=True)
class Course:
    rules: Sequence[Rule]
    readings: Readings
    states: States

    def follow(self, rows: Iterable[Signal]) -> list[Turn]:
        """Takes rows in, instant by instant; each rule is judged where one of its signals is new."""
        turns: list[Turn] = []
        for at, together in groupby(sorted(rows, key=lambda row: row.at), key=lambda row: row.at):
            fresh: dict[str, set[Part]] = {}
            for row in together:
                if not row.slice.startswith(ASIDE) and self.readings.put(row):
                    fresh.setdefault(row.name, set()).add((row.version, row.slice))
            if fresh:
                turns += self._judged(fresh, at)
        return turns

    def lost(self, now: float) -> list[Turn]:
        """Ends states of rules that are no more, and of parts that nothing has been measured on for long while other signals came."""
        known = {rule.key: rule for rule in self.rules}
        newest = self.readings.newest()
        alive = newest is not None and now - newest <= WINDOWS * self.readings.window_s
        turns = []
        for (key, part), progress in list(self.states.items()):
            rule = known.get(key)
            if rule is not None and (part == WHOLE or not alive or not self._gone(rule, part, progress, now)):
                continue
            del self.states[key, part]
            if progress.active:
                turns.append(Turn("removed" if rule is None else "gone", key, part, now, progress.since))
        return turns

    def _gone(self, rule: Rule, part: Part, progress: Progress, now: float) -> bool:
        heard = self.readings.newest_of(signals_of(rule.watch), part)
        return now - max(heard or 0.0, progress.known_at) > max(GONE_S, GONE_WINDOWS * self.readings.window_s)

    def _judged(self, fresh: Mapping[str, set[Part]], at: float) -> Iterator[Turn]:
        for rule in self.rules:
            parts = {part for name in signals_of(rule.watch) for part in fresh.get(name, ())}
            single = len({version for version, _ in parts if version}) == 1
            for part in sorted(parts):
                before = self.states.get((rule.key, part), Progress())
                told = single and part[0] and ("", part[1]) in parts
                judgement = Judgement(False) if told else judge(rule.watch, self.readings, part, at)
                after, change = advance(before, judgement.holds, at, rule)
                if after.phase == "inactive":
                    self.states.pop((rule.key, part), None)
                else:
                    self.states[rule.key, part] = after
                if change is not None:
                    since = before.since if change in ("calmed", "cleared") else after.since
                    yield Turn(change, rule.key, part, after.known_at, since, judgement)


def silent(newest: float | None, began: float, now: float, window_s: float) -> bool:
    """Whether no signal at all has come for too long: then alerts mean nothing. `began`: since when there should be some."""
    return now - max(newest or 0.0, began) > max(SILENT_S, SILENT_WINDOWS * window_s)


def states_as_json(states: States) -> list[dict[str, Any]]:
    return [{"rule": key, "version": part[0], "slice": part[1], **progress.as_json()} for (key, part), progress in sorted(states.items())]


def states_of(rows: Iterable[Mapping[str, Any]]) -> States:
    return {(row["rule"], (row["version"], row["slice"])): Progress.parse(row) for row in rows}
