"""What every method of finding anomalies must hold, on series that are made here; subclass it with the method's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.monitoring.anomalies.contract import Found, History, Method, Model, Settings
from penstock.monitoring.anomalies.table import METHODS

STEP_S, DAY_S, START = 300.0, 86400.0, 1_699_920_000.0
PER_DAY = int(DAY_S / STEP_S)
Noise = Callable[[Any, int], Any]  # generator, count -> factors around 1


def gauss(rng: Any, count: int) -> Any:
    return 1 + 0.1 * rng.normal(size=count)


def lognormal(rng: Any, count: int) -> Any:
    import numpy as np

    return np.exp(0.3 * rng.normal(size=count))


def heavy(rng: Any, count: int) -> Any:
    return 1 + 0.05 * rng.standard_t(3, size=count)


def blocks(factors: Any, length: int) -> Noise:
    """Noise drawn from real factors in blocks, so that neighbours hang together as they really do."""
    import numpy as np

    def draw(rng: Any, count: int) -> Any:
        starts = rng.integers(0, len(factors) - length + 1, count // length + 1)
        return np.concatenate([factors[start : start + length] for start in starts])[:count]

    return draw


def series(days: float, noise: Noise, seed: int, *, swing: float = 0.6, step_s: float = STEP_S, columns: int = 1) -> History:
    """A daily pattern with two humps, times noise; `swing` 0: no pattern."""
    import numpy as np

    rng, count = np.random.default_rng(seed), int(days * DAY_S / step_s)
    at = START + step_s * np.arange(1, count + 1)
    turn = 2 * np.pi * (at % DAY_S) / DAY_S
    level = 50 * (1 + swing * np.sin(turn - 2) + swing / 3 * np.sin(2 * turn))
    return History(at, np.column_stack([np.maximum(level, 3) * noise(rng, count) for _ in range(columns)]), step_s)


def parted(history: History, at: int) -> tuple[History, History]:
    return (
        History(history.at[:at], history.values[:at], history.step_s),
        History(history.at[at:], history.values[at:], history.step_s),
    )


def followed(model: Model, points: History) -> list[Found]:
    return [model.step(float(at), tuple(float(v) for v in values)) for at, values in zip(points.at, points.values, strict=True)]


class MethodConformance:
    name = ""
    swing = 0.6
    columns = 1
    days = 7  # of history; one more is followed
    parts_what_is_alike = True  # it finds a move of what never moved before

    def method(self) -> Method:
        found: Method = METHODS.load(self.name)
        return found

    def learnt(self, seed: int = 0, noise: Noise = gauss, **settings: Any) -> tuple[Model, History]:
        history, rest = parted(series(self.days + 1, noise, seed, swing=self.swing, columns=self.columns), self.days * PER_DAY)
        model = self.method().learn(history, Settings(**{"season_s": DAY_S, **settings}))
        assert model is not None
        return model, rest

    def test_nothing_is_said_from_too_little(self) -> None:
        short, _ = parted(series(1, gauss, 0, columns=self.columns), 50)
        assert self.method().learn(short, Settings()) is None

    def test_the_same_history_gives_the_same_model(self) -> None:
        (one, rest), (other, _) = self.learnt(), self.learnt()
        assert followed(one, rest) == followed(other, rest)

    @pytest.mark.parametrize("noise", [gauss, lognormal, heavy])
    def test_false_alarms_are_as_rare_as_declared(self, noise: Noise) -> None:
        """Declared one in a hundred, to be measured in seconds: of 6 × 288 points some 17; more than 40 would not be chance alone."""
        alarms = sum(one.ratio > 1 for seed in range(6) for one in followed(*self.learnt(seed, noise, false_alarms=0.01)))
        assert alarms <= 40

    def test_what_is_far_off_is_found_and_told(self) -> None:
        model, rest = self.learnt()
        rest.values[100:160] *= 4.0
        found = followed(model, rest)
        assert max(one.ratio for one in found[:100]) <= 1.5
        first = next(n for n, one in enumerate(found) if n >= 100 and one.ratio > 1)
        assert first < 110
        assert found[first].seen[0] > 2 * found[first].expected[0]

    def test_incidents_of_the_past_hide_no_new_one(self) -> None:
        history, rest = parted(series(self.days + 1, gauss, 0, swing=self.swing, columns=self.columns), self.days * PER_DAY)
        history.values[700:730] *= 8.0
        rest.values[100:160] *= 4.0
        model = self.method().learn(history, Settings(season_s=DAY_S))
        assert model is not None
        assert any(one.ratio > 1 for one in followed(model, rest)[100:115])

    def test_constant_and_empty_hours_do_not_break_it(self) -> None:
        history, rest = parted(series(self.days + 1, gauss, 0, swing=self.swing, columns=self.columns), self.days * PER_DAY)
        history.values[:] = 0.0
        rest.values[:50] = 0.0
        model = self.method().learn(history, Settings(season_s=DAY_S))
        assert model is not None
        found = followed(model, rest)
        assert all(one.limit > 0 for one in found)
        assert all(one.ratio <= 1 for one in found[:50]), "what it always was is not odd"
        assert not self.parts_what_is_alike or any(one.ratio > 1 for one in found[50:])

    def test_gaps_in_time_do_not_break_it(self) -> None:
        import numpy as np

        history, rest = parted(series(self.days + 2, gauss, 0, swing=self.swing, columns=self.columns), (self.days + 1) * PER_DAY)
        keep = np.ones(history.points, bool)
        keep[300:420] = keep[900:905] = False
        model = self.method().learn(History(history.at[keep], history.values[keep], history.step_s), Settings(season_s=DAY_S))
        assert model is not None
        assert sum(one.ratio > 1 for one in followed(model, rest)) <= 8
