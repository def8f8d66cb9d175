"""The measure over signals in a store: what is odd is told with its evidence, once, also after a restart, by the very same detector."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.control.watch.anomalies import Anomalies, make
from penstock.control.watch.contract import Happened, Watched
from penstock.control.watch.table import MEASURES
from penstock.core.errors import BadInput
from penstock.spec.monitor import Monitor
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.anomalies import DAY_S, START

STEP = 300.0
PER_DAY = int(DAY_S / STEP)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store.memory()
    yield made
    made.close()


def watched(store: Store, *entries: dict[str, Any], folder: Path = Path("/nowhere")) -> Watched:
    monitor = Monitor.model_validate({"window": STEP, "anomalies": list(entries)})
    return Watched("m", "text-classification", monitor, {}, store, folder)


def minutes(days: float, seed: int = 0, first: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    found = []
    for n in range(first, int(days * PER_DAY) + 1):
        at = START + STEP * n
        found.append((at, (100 + 40 * np.sin(2 * np.pi * (at % DAY_S) / DAY_S)) * chance.gauss(1, 0.08)))
    return found


def measured(store: Store, name: str, points: list[tuple[float, float]], **more: Any) -> None:
    store.signals.append([Signal("m", name, at, value, 50.0, **more) for at, value in points])


def told(measure: Anomalies, until: float) -> list[Signal]:
    return measure.fold(Happened((), (), until))


def test_nothing_asked_for_nothing_made(store: Store) -> None:
    assert make(watched(store)) is None
    assert "anomalies" in MEASURES.names()
    assert MEASURES.load("anomalies") is make


def test_an_odd_point_is_told_with_what_was_expected(store: Store) -> None:
    measured(store, "latency.p95_ms", minutes(8))
    measured(store, "latency.p95_ms", [(at, 1e6) for at, _ in minutes(9)], slice="key=a")  # of a part: not looked at
    measure = make(watched(store, {"signals": ["latency.p95_ms"]}))
    assert measure is not None
    now = START + 8 * DAY_S
    assert told(measure, now) == [], "what was before is history"
    fresh = minutes(8.2, 1, first=8 * PER_DAY + 1)
    fresh[10] = (fresh[10][0], 600.0)
    measured(store, "latency.p95_ms", fresh)
    found = told(measure, now + DAY_S)
    assert {s.name for s in found} == {"anomaly"}
    assert len(found) == 2 * len(fresh)
    odd = [s for s in found if s.over]
    assert [(s.at, s.slice) for s in odd] == [(fresh[10][0], "signal=latency.p95_ms"), (fresh[10][0], "")]
    assert odd[1].evidence == odd[0].evidence
    assert odd[0].evidence["signal"] == "latency.p95_ms"
    assert odd[0].evidence["seen"] == 600.0
    assert 80 < odd[0].evidence["expected"] < 130
    assert odd[0].limit == 1.0
    assert told(measure, now + DAY_S) == [], "each point once"


def test_a_restart_anywhere_comes_to_the_same_signals(store: Store) -> None:
    entries = [{"signals": ["requests_per_s"]}, {"signals": ["requests_per_s"], "method": "change_point"}]
    measured(store, "requests_per_s", minutes(8))
    now = START + 8 * DAY_S
    whole = make(watched(store, *entries))
    assert whole is not None
    told(whole, now)
    before = whole.state()
    fresh = minutes(9, 1, first=8 * PER_DAY + 1)
    measured(store, "requests_per_s", [(at, value * (1.5 if n > 100 else 1)) for n, (at, value) in enumerate(fresh)])
    once = told(whole, now + DAY_S)
    several: list[Signal] = []
    state = before
    for part in range(1, 9):
        again = make(watched(store, *entries))
        assert again is not None
        again.restore(state)
        several += told(again, now + part * DAY_S / 8)
        state = again.state()
    assert sorted(several, key=lambda s: (s.at, s.slice)) == sorted(once, key=lambda s: (s.at, s.slice))
    assert sum(s.over for s in once if not s.slice) > 20


def test_signals_together_at_their_common_instants(store: Store) -> None:
    names = ["latency.p95_ms", "requests_per_s"]
    for n, name in enumerate(names):
        measured(store, name, minutes(4, n))
    measure = make(watched(store, {"signals": names, "method": "isolation_forest", "false_alarms": 0.01}))
    assert measure is not None
    now = START + 4 * DAY_S
    told(measure, now)
    measured(store, names[0], [(now + STEP, 500.0), (now + 2 * STEP, 100.0)])
    measured(store, names[1], [(now + STEP, 400.0)])
    found = told(measure, now + DAY_S)
    assert [(s.at, s.slice) for s in found] == [(now + STEP, "signal=latency.p95_ms+requests_per_s"), (now + STEP, "")]
    assert found[0].over
    assert found[0].evidence["seen"] == [500.0, 400.0]
    assert found[0].evidence["signal"] in names


def test_too_little_history_says_nothing_and_states_of_others_are_refused(store: Store) -> None:
    measured(store, "error_rate", minutes(0.2))
    measure = make(watched(store, {"signals": ["error_rate", "requests"]}))
    assert measure is not None
    now = START + DAY_S
    told(measure, now)
    measured(store, "error_rate", [(now + STEP, 5.0)])
    assert told(measure, now + DAY_S) == []
    with pytest.raises(ValueError):
        measure.restore(b"[1, 2]")
    with pytest.raises(ValueError):
        measure.restore(b"half a sta")
    with pytest.raises(ValueError):
        Monitor.model_validate({"anomalies": [{"signals": ["x"], "method": "magic"}]})
    with pytest.raises(BadInput):
        MEASURES.load("anomalys")
