"""Items of the labelling queue as rows: made once for a request, answered by people, settled by their agreement, said back as feedback.

An item is open until as many people as are asked have answered; then it is labelled where most of them agree, else disputed until
somebody settles it. A label is written as feedback of the key that asked, so live accuracy, drift and retraining see it as any other.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import BadInput, Conflict, NotFound
from penstock.serving.feedback import Feedback, FeedbackWriter, speaker
from penstock.store.resources import Resource
from penstock.store.store import Store

KIND = "labelling"
OPEN, LABELLED, DISPUTED, SKIPPED = "open", "labelled", "disputed", "skipped"
LEASE_S = 5.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that a label is wanted for. `why`: uncertain or drift; `weight`: how much, larger first."""

    request: str
    key: str | None
    text: str
    predicted: str | None
    confidence: float | None
    why: str
    weight: float
    at: float


def put(store: Store, deployment: str, wanted: Wanted, annotators: int) -> Resource | None:
    """Queues it; None when it is there already."""
    spec = {name: getattr(wanted, name) for name in Wanted.__slots__} | {"deployment": deployment, "annotators": annotators}
    ident = f"{KIND}-{hex_of(digest_json([deployment, wanted.request]))[:16]}"
    try:
        return store.resources.create(KIND, deployment, spec, id=ident, phase=OPEN, status={"answers": []}, due_at=None)
    except Conflict:
        return None


def give(world: World, ident: str, label: str, *, by: str) -> Resource:
    """One person's answer; a second one of the same person replaces the first. Raises NotFound, BadInput when it is settled already."""

    def answered(row: Resource) -> tuple[list[dict[str, Any]], str | None, str]:
        if row.phase in (LABELLED, SKIPPED):
            raise BadInput(f"{row.id} is {row.phase}{': ' + str(row.status.get('label')) if row.status.get('label') else ''}")
        others = [one for one in row.status["answers"] if one["by"] != by]
        answers = [*others, {"by": by, "label": label, "at": world.clock.now()}]
        found, phase = verdict(answers, int(row.spec["annotators"]))
        return answers, found, phase

    return _change(world, ident, answered)


def settle(world: World, ident: str, label: str, *, by: str) -> Resource:
    """Decides a disputed item, or any that is open."""

    def settled(row: Resource) -> tuple[list[dict[str, Any]], str | None, str]:
        return [*row.status["answers"], {"by": by, "label": label, "at": world.clock.now(), "settles": True}], label, LABELLED

    return _change(world, ident, settled)


def skip(world: World, ident: str, *, by: str) -> Resource:
    """It cannot be labelled: nobody is asked again."""

    def skipped(row: Resource) -> tuple[list[dict[str, Any]], str | None, str]:
        return [*row.status["answers"], {"by": by, "label": None, "at": world.clock.now()}], None, SKIPPED

    return _change(world, ident, skipped)


def verdict(answers: list[dict[str, Any]], annotators: int) -> tuple[str | None, str]:
    """(label, phase) after these answers: the label that more than half of them say, once all who are asked have answered."""
    if len(answers) < annotators:
        return None, OPEN
    label, count = Counter(one["label"] for one in answers).most_common(1)[0]
    return (label, LABELLED) if 2 * count > len(answers) else (None, DISPUTED)


def following(world: World, deployment: str, person: str) -> Resource | None:
    """What `person` should label next: not answered by them yet; disputed last, then the most wanted first."""
    rows = world.store.resources.list(KIND, name=deployment, phase=OPEN, limit=10_000)
    rows = [row for row in rows if all(one["by"] != person for one in row.status["answers"])]
    return max(rows, key=lambda row: (len(row.status["answers"]) > 0, row.spec["weight"], row.spec["at"]), default=None)


def _change(world: World, ident: str, change: Any) -> Resource:
    """Takes the row, writes the answer, then says the label as feedback where there is one; repeated after a crash it says the same."""
    if not world.store.resources.take(KIND, ident, world.owner, LEASE_S):
        world.store.resources.get(KIND, ident)
        raise Conflict(f"{ident} is being answered by somebody else at this moment", remedy="Try again.")
    try:
        row = world.store.resources.get(KIND, ident)
        answers, label, phase = change(row)
        status = {"answers": answers, "label": label}
        if label is not None:
            _say(world, row, label, answers[-1]["by"])
        world.store.resources.save(KIND, ident, world.owner, status=status, phase=phase, due_at=None)
        world.store.audit.append(answers[-1]["by"], "label.give", row.spec["deployment"], {"item": ident, "phase": phase})
    finally:
        world.store.resources.release(KIND, ident, world.owner)
    return world.store.resources.get(KIND, ident)


def _say(world: World, row: Resource, label: str, by: str) -> None:
    key, request = row.spec["key"], row.spec["request"]
    digest = hashlib.blake2b(orjson.dumps([key, request, label, by]), digest_size=12).hexdigest()
    said = Feedback(world.clock.now(), request, f"fb-{digest}", key, label=label, user=speaker(key, by))
    FeedbackWriter(world.home.gateway / "feedback").write(said)


def item_row(row: Resource) -> dict[str, Any]:
    """What commands print."""
    spec: Mapping[str, Any] = row.spec
    shown = {name: spec[name] for name in ("deployment", "request", "text", "predicted", "confidence", "why", "annotators")}
    return {"id": row.id, **shown, "phase": row.phase, "label": row.status.get("label"), "answers": row.status["answers"]}


def find(world: World, ident: str) -> Resource:
    """By id or its beginning. Raises NotFound, BadInput."""
    rows = world.store.resources.list(KIND, limit=10_000)
    found = [row for row in rows if row.id == ident or row.id.startswith((ident, f"{KIND}-{ident}"))]
    if len(found) != 1:
        raise (BadInput if found else NotFound)(f"{len(found) or 'no'} item{'s begin' if len(found) > 1 else ' begins'} with {ident!r}")
    return found[0]
