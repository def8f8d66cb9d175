"""Two versions against each other by what became of their requests: one outcome a session, looked at as often as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from penstock.control.outcomes import Outcome
from penstock.monitoring.sequential import Race, watch
from penstock.monitoring.units import Units


def more(state: Mapping[str, Any] | None, outcomes: Iterable[Outcome], versions: tuple[str, str], share: float) -> dict[str, Any]:
    """The state (JSON values) with more outcomes. `versions`: champion and challenger; `share`: of requests, for the challenger."""
    champion, challenger = versions
    known = state or {}
    counted = Units.parse(known.get("counted"))
    race = Race.parse(known["race"]) if known.get("race") else Race()
    first = [(o.version == challenger, o.value) for o in outcomes if o.version in (champion, challenger) and counted.admit(o.session)]
    return {"race": watch(race, first, share).as_json(), "counted": counted.as_json()}


def race_of(state: Mapping[str, Any] | None) -> Race:
    return Race.parse(state["race"]) if state and state.get("race") else Race()
