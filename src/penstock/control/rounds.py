"""Rounds of a batch at a vendor's service: which rows are asked next, under which name, and what is known of them. Pure but for one note.

A round is written down before it is asked for, so a process that was killed, or whose answer was lost, finds it again. Rows that a round
gave no answer to are asked again in smaller shards: what one row does to its neighbours then falls on fewer of them, at last on none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from penstock.core.digests import digest_json, hex_of

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

TRIES = 3  # rounds that a row is asked in, at most
NARROWER = 32  # by which shards of the next try are smaller


@dataclass(frozen=True, slots=True)
class Round:
    """`number` counts all rounds of the batch, `tried` those before this one that ended without an answer to some row.

    `shards`: (first row, rows). `open`: it may still be there, or something of it.
    """

    number: int
    tried: int
    shards: Sequence[tuple[int, int]]
    name: str
    asked: bool = False  # its lines are in the store
    open: bool = True
    longest_bytes: int = 0

    @property
    def folder(self) -> str:
        return f"batches/{self.name}"

    @property
    def last(self) -> bool:
        return self.tried + 1 >= TRIES


def size_of(rows: int, tried: int) -> int:
    """Rows of a shard: fewer after each try."""
    return max(1, rows // NARROWER**tried) if tried + 1 < TRIES else 1


def begun(key: str, number: int, tried: int, shards: Sequence[tuple[int, int]], more: object) -> Round:
    """`more`: on what it runs. Names have at most 63 of a-z, 0-9 and '-': what every vendor takes."""
    mark = hex_of(digest_json([key, number, [list(shard) for shard in shards], more]))[:8]
    return Round(number, tried, tuple(shards), f"penstock-batch-{hex_of(key)[:16]}-{mark}")


def note(key: str) -> str:
    return f"jobs/{hex_of(key)}/round.json"


def known(artifacts: Artifacts, key: str) -> Round | None:
    """The newest round of the batch."""
    data = artifacts.get_note(note(key))
    if data is None:
        return None
    value = json.loads(data)
    return Round(**{**value, "shards": tuple((first, count) for first, count in value["shards"])})


def keep(artifacts: Artifacts, key: str, one: Round) -> Round:
    artifacts.put_note(note(key), json.dumps(asdict(one)).encode())
    return one
