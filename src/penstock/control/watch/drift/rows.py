"""From a recorded request to what drift detectors look at; and which requests, when more come than can be looked at.

Not covered: requests with several texts (what is one of them is not known), refused and failed ones, shadow copies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.serving.feedback import Feedback
from penstock.stages.reference.features import CUT, Looked

_BEST = re.compile(r"(.+?)=([01]\.\d{3})(?: |$)")
COST = 40  # of a text, beside its characters


def looked(record: Mapping[str, Any], task: str) -> Looked | None:
    """None for a record that says nothing of traffic."""
    if record.get("version") is None or int(record.get("status") or 0) >= 400 or record.get("shadow_of") is not None:
        return None
    text, out = record.get("text_in"), record.get("text_out")
    label, confidence = record.get("label"), record.get("confidence")
    if task == "text-classification":
        if isinstance(out, str) and "\n" in out:
            return None
        if label is None and isinstance(out, str) and (best := _BEST.match(out)) is not None:
            label, confidence = best[1], float(best[2])
    metadata = record.get("metadata")
    return Looked(
        id=str(record.get("id")),
        text=text[:CUT] if isinstance(text, str) else None,
        chars=len(text) if isinstance(text, str) else None,
        chars_out=len(out) if isinstance(out, str) else None,
        label=label if isinstance(label, str) else None,
        confidence=float(confidence) if isinstance(confidence, (int, float)) else None,
        metadata={str(name): _plain(value) for name, value in metadata.items()} if isinstance(metadata, Mapping) else {},
        ended=_ended(record),
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _ended(record: Mapping[str, Any]) -> float:
    at = record.get("at")  # when the request was over, where the reader says so
    return float(at) if isinstance(at, (int, float)) else float(record.get("ts") or 0.0) + float(record.get("total_ms") or 0.0) / 1000


def rated(record: Mapping[str, Any], said: Feedback, task: str) -> Looked | None:
    """With what was said: the right label, or a score below 0 for an answer that was wrong."""
    row = looked(record, task)
    if row is None or (said.label is None and said.score is None):
        return None
    if said.label is not None:
        wrong = said.label != row.label if row.label is not None else None
    else:
        wrong = said.score is not None and said.score < 0
    return Looked(
        id=row.id, label=row.label, truth=said.label, wrong=wrong, metadata=row.metadata, ended=max(said.ts, row.ended), text=row.text
    )


@dataclass(slots=True)
class Budget:
    """What may be looked at: `per_s` characters for each second of traffic, up to `most` saved. It goes by the records' own time alone, so
    that the same records give the same choice, however they are cut into passes.
    """

    per_s: float
    most: float
    left: float = -1.0
    at: float = 0.0

    def takes(self, row: Looked) -> bool:
        if self.left < 0:
            self.left, self.at = self.most, row.ended
        self.left = min(self.most, self.left + max(row.ended - self.at, 0.0) * self.per_s)
        self.at = max(self.at, row.ended)
        cost = COST + len(row.text or "")
        if self.left < cost:
            return False
        self.left -= cost
        return True
