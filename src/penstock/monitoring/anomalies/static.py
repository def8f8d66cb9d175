"""A signal against a fixed band: the value that it usually has, and limits that it passes by chance as rarely as was declared."""

from __future__ import annotations

import math

from penstock.monitoring.anomalies.contract import History, Settings
from penstock.monitoring.anomalies.forecast import forecast
from penstock.monitoring.anomalies.seasonal import LEAST, Banded, banded


class Static:
    joint = False
    times_a_season = 8.0

    def learn(self, history: History, settings: Settings) -> Banded | None:
        if history.points < LEAST:
            return None
        found = forecast(history, 0, math.inf, halving=math.inf)
        return banded(found, history, settings)


STATIC = Static()
