"""Several signals at once: a point that is odd in how they go together, though each alone may be usual. Isolation forest (Liu et al. 2008).

Each signal is put in its own measure first, as its error against its forecast. The limit is that of points which the forest that judges
them was not grown from (five folds of the history), so that it holds for points to come.
Not covered: signals that never moved in the history; trees cannot part what is all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock.monitoring.anomalies.contract import Found, History, Settings
from penstock.monitoring.anomalies.forecast import Forecast, forecast
from penstock.monitoring.anomalies.limits import usual
from penstock.monitoring.anomalies.tail import upper_limit

LEAST = 400  # points
FOLDS, TREES, SAMPLES = 5, 100, 256
SEED = 2008


@dataclass(slots=True)
class Forest:
    forecasts: list[Forecast]
    forest: Any
    limit: float

    def step(self, at: float, values: Sequence[float]) -> Found:
        import numpy as np

        steps = [one.step(at, value) for one, value in zip(self.forecasts, values, strict=True)]
        off = [far for _, far in steps]
        score = float(-self.forest.score_samples(np.array([off]))[0])
        farthest = max(range(len(off)), key=lambda n: abs(off[n]))
        why = {"off": [round(far, 2) for far in off], "farthest": farthest}
        return Found(score, self.limit, tuple(values), tuple(expected for expected, _ in steps), why)


class IsolationForest:
    joint = True
    times_a_season = 4.0

    def learn(self, history: History, settings: Settings) -> Forest | None:
        if history.points < LEAST:
            return None
        import numpy as np

        found = [forecast(history, column, settings.season_s) for column in range(history.values.shape[1])]
        errors = np.column_stack([one.errors for one in found])
        scores, folds = np.empty(len(errors)), np.arange(len(errors)) * FOLDS // len(errors)
        for fold in range(FOLDS):
            scores[folds == fold] = -_grown(errors[folds != fold]).score_samples(errors[folds == fold])
        limit = upper_limit(usual(scores), settings.false_alarms)
        return Forest(found, _grown(errors), min(limit, 0.999))


def _grown(errors: Any) -> Any:
    from sklearn.ensemble import IsolationForest as Grown

    return Grown(n_estimators=TREES, max_samples=min(SAMPLES, len(errors)), random_state=SEED).fit(errors)


ISOLATION_FOREST = IsolationForest()
