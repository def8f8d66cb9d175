"""Records with what was said of them: the rows that rewards, live accuracy and new datasets are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.serving.feedback import Feedback, read_feedback
from penstock.serving.record_files import read_records


@dataclass(frozen=True, slots=True)
class Joined:
    """A request's record and the feedback on it, oldest first. `score`: the mean of each speaker's last score; None when nobody gave one.

    `label` and `correction`: the last ones said.
    """

    record: Mapping[str, Any]
    feedback: tuple[Feedback, ...]
    score: float | None
    label: str | None
    correction: str | None


def joined(records: Iterable[Mapping[str, Any]], said: Iterable[Feedback], *, any_key: bool = False) -> Iterator[Joined]:
    """Each record that feedback names, once, in the order of `records`.

    Feedback counts when it came with the key that asked, so that no client speaks for another; `any_key` lets every key speak.
    Where several records carry one id (a client chose it twice, a shadow copy), the first that was answered to the client counts.
    """
    by_id: dict[str, list[Feedback]] = {}
    for one in said:
        by_id.setdefault(one.id, []).append(one)
    for record in records:
        if record.get("shadow_of") is not None:
            continue
        found = by_id.get(record["id"], [])
        mine = sorted((f for f in found if any_key or f.key == record.get("key")), key=lambda f: f.ts)
        if mine:
            del by_id[record["id"]]
            yield _row(record, mine)


def read_joined(gateway: Path, since: float = 0.0, until: float = float("inf"), *, any_key: bool = False) -> Iterator[Joined]:
    """Of the gateway's folder: records with since ≤ ts < until, with everything said of them since."""
    said = read_feedback(gateway / "feedback", since)
    return joined(read_records(gateway / "records", since, until), said, any_key=any_key)


def as_row(one: Joined) -> dict[str, Any]:
    """Flat, for a table: the record's fields, and `score`, `label`, `correction`, `feedback` (list of what was said)."""
    said = [asdict(f) for f in one.feedback]
    return {**one.record, "score": one.score, "label": one.label, "correction": one.correction, "feedback": said}


def _row(record: Mapping[str, Any], said: list[Feedback]) -> Joined:
    scores = {(f.key, f.user): f.score for f in said if f.score is not None}
    labels = [f.label for f in said if f.label is not None]
    corrections = [f.correction for f in said if f.correction is not None]
    mean = sum(scores.values()) / len(scores) if scores else None
    return Joined(record, tuple(said), mean, labels[-1] if labels else None, corrections[-1] if corrections else None)
