"""An alert that fires, and what keeps it from being told: a silence, or a graver one about the same signal."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.core.errors import BadInput
from penstock.monitoring.alerting.rules import RANK
from penstock.spec.react import Severity

LABELS = ("deployment", "alert", "severity", "signal", "version", "slice")


@dataclass(frozen=True, slots=True)
class Standing:
    """`labels`: deployment, alert, severity, signal, version and slice, those it has. `send` empty: every receiver.

    `signals`: names of those that it is about. `acked`: somebody has taken it; it is not repeated.
    """

    id: str
    name: str
    severity: Severity
    labels: Mapping[str, str]
    signals: tuple[str, ...] = ()
    send: tuple[str, ...] = ()
    repeat_s: float = 4 * 3600.0
    acked: bool = False


@dataclass(frozen=True, slots=True)
class Matcher:
    """A label has a value (`=`) or has not (`!=`); in it `*` stands for any characters, `?` for any one. A missing label is empty."""

    label: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"{self.label}{self.sign}{self.value}"

    def takes(self, labels: Mapping[str, str]) -> bool:
        return fnmatch.fnmatchcase(labels.get(self.label, ""), self.value) == (self.sign == "=")


@dataclass(frozen=True, slots=True)
class Silence:
    """All of `matchers` must take an alert. `until`: seconds since the epoch."""

    id: str
    matchers: tuple[Matcher, ...]
    until: float
    since: float = 0.0
    who: str = ""
    why: str = ""

    def takes(self, labels: Mapping[str, str], now: float) -> bool:
        return self.since <= now < self.until and all(matcher.takes(labels) for matcher in self.matchers)

    def as_json(self) -> dict[str, Any]:
        told = {"since": self.since, "until": self.until, "who": self.who, "why": self.why}
        return {"silence": self.id, "matchers": [str(matcher) for matcher in self.matchers], **told}


def matcher_of(text: str) -> Matcher:
    """`severity=warning`, `slice=channel=*`. Raises BadInput."""
    found = re.match(r"([A-Za-z_][A-Za-z0-9_]*)(!=|=)(.*)", text, re.DOTALL)
    if found is None:
        raise BadInput(f"{text!r} is no matcher", remedy="Write LABEL=VALUE or LABEL!=VALUE; * in a value stands for anything.")
    if found[1] not in LABELS:
        raise BadInput(f"alerts have no label {found[1]!r} (they have: {', '.join(LABELS)})")
    return Matcher(found[1], found[2], found[3])


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why an alert is not told now: `by` is the id of a silence or of the graver alert."""

    kind: Literal["silenced", "inhibited"]
    by: str


@dataclass(frozen=True, slots=True)
class Told:
    """What may be told, and what is withheld, by id of the alert."""

    free: tuple[Standing, ...] = ()
    withheld: Mapping[str, Withheld] = field(default_factory=dict)


def withhold(alerts: Sequence[Standing], silences: Iterable[Silence], now: float) -> Told:
    """A silence withholds whatever it takes. A critical alert that fires withholds lesser ones of the deployment about one of its signals,
    on the same part or where it is about the whole; silenced itself, it still does: whoever silenced it knows.
    """
    silenced = list(silences)
    grave = [alert for alert in alerts if alert.severity == "critical"]
    withheld: dict[str, Withheld] = {}
    for alert in alerts:
        by = next((one.id for one in silenced if one.takes(alert.labels, now)), None)
        if by is not None:
            withheld[alert.id] = Withheld("silenced", by)
        elif (graver := next((one.id for one in grave if _covers(one, alert)), None)) is not None:
            withheld[alert.id] = Withheld("inhibited", graver)
    return Told(tuple(alert for alert in alerts if alert.id not in withheld), withheld)


def _covers(graver: Standing, alert: Standing) -> bool:
    if RANK[graver.severity] <= RANK[alert.severity] or graver.labels.get("deployment") != alert.labels.get("deployment"):
        return False
    same_part = all(graver.labels.get(name, "") in ("", alert.labels.get(name, "")) for name in ("version", "slice"))
    return same_part and not set(graver.signals).isdisjoint(alert.signals)
