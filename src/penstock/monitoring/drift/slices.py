"""In which slices of the window a change is concentrated: the fields whose values hold more of the strange rows than the others do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LEAST_ROWS, MOST, SURE = 15, 3, 4.0
LONGEST = 80


def concentrated(scores: np.ndarray, fields: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """`scores`: how strange each row is (0: not); `fields`: by name, the value of each row. Rare values are left out."""
    strange = scores > 0
    if not 0 < strange.sum() < len(strange):
        return []
    found = []
    for name, values in fields.items():
        shown = np.array([None if value is None else str(value)[:LONGEST] for value in values], object)
        for value in {v for v in shown.tolist() if v is not None}:
            inside = shown == value
            if LEAST_ROWS <= inside.sum() <= len(shown) - LEAST_ROWS:
                here, there = float(strange[inside].mean()), float(strange[~inside].mean())
                pooled = float(strange.mean())
                error = math.sqrt(pooled * (1 - pooled) * (1 / inside.sum() + 1 / (~inside).sum()))
                if here - there > SURE * error:
                    found.append(((here - there) / error, name, value, here, there, int(inside.sum())))
    ordered = sorted(found, key=lambda one: (-one[0], one[1], one[2]))[:MOST]
    return [
        {"field": name, "value": value, "rows": rows, "strange": round(here, 3), "elsewhere": round(there, 3)}
        for _, name, value, here, there, rows in ordered
    ]
