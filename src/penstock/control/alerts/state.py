"""What a monitor's row remembers: how far signals were followed, how far each rule has come, what each receiver knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from penstock.monitoring.alerting.course import States, states_as_json, states_of
from penstock.monitoring.alerting.grouping import Line
from penstock.monitoring.alerting.standing import Withheld


@dataclass(slots=True)
class State:
    """`cursor`: the newest instant of signals that was followed. `seen`: the last event of the row that was heard. `sending`: by line,
    which parcel is on its way, who sends it and since when. `beat_at`: when the heartbeat was last asked for.
    """

    cursor: float | None = None
    states: States = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    sending: dict[str, dict[str, Any]] = field(default_factory=dict)
    withheld: dict[str, Withheld] = field(default_factory=dict)
    seen: int = 0
    beat_at: float | None = None
    beat_error: str | None = None
    error: str | None = None  # why the deployment's sections cannot be read

    def as_json(self) -> dict[str, Any]:
        return {
            "cursor": self.cursor,
            "states": states_as_json(self.states),
            "lines": {name: line.as_json() for name, line in self.lines.items()},
            "sending": self.sending,
            "withheld": {ident: asdict(one) for ident, one in self.withheld.items()},
            "seen": self.seen,
            "beat_at": self.beat_at,
            "beat_error": self.beat_error,
            "error": self.error,
        }

    @staticmethod
    def parse(value: Mapping[str, Any]) -> State:
        if not value:
            return State()
        return State(
            value["cursor"],
            states_of(value["states"]),
            {name: Line.parse(line) for name, line in value["lines"].items()},
            {name: dict(one) for name, one in value["sending"].items()},
            {ident: Withheld(**one) for ident, one in value["withheld"].items()},
            value["seen"],
            value["beat_at"],
            value["beat_error"],
            value["error"],
        )
