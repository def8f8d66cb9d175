"""Records with what was said of them: the rows that rewards, live accuracy and new datasets are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.serving.feedback import Feedback, read_feedback
from penstock.serving.record_files import read_records


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stands of a request. `score`: the mean of each speaker's last score; None when nobody gave one.

    `label`, `correction`: the last said.
    """

    score: float | None = None
    label: str | None = None
    correction: str | None = None


@dataclass(frozen=True, slots=True)
class Joined:
    """A request's record, the feedback on it, oldest first, and what stands (see Verdict)."""

    record: Mapping[str, Any]
    feedback: tuple[Feedback, ...]
    score: float | None
    label: str | None
    correction: str | None


def verdict(said: Iterable[Feedback]) -> Verdict:
    """Of all that was said of one request, oldest first."""
    scores: dict[tuple[str | None, str | None], float] = {}
    label = correction = None
    for one in said:
        if one.score is not None:
            scores[one.key, one.user] = one.score
        label = label if one.label is None else one.label
        correction = correction if one.correction is None else one.correction
    return Verdict(sum(scores.values()) / len(scores) if scores else None, label, correction)


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
    found = verdict(said)
    return Joined(record, tuple(said), found.score, found.label, found.correction)
