"""Rounds of a batch at a vendor's service: which rows are asked next, under which name, and what is known of them. Pure but for one note.

A round is written down before it is asked for, so a process that was killed, or whose answer was lost, finds it again. Rows that a round
gave no answer to are asked again in smaller shards and in another order: a row that ends its container takes others with it, those of its
shard and, where nobody starts the container again, all that come after. Single rows are asked as long as rounds bring answers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from penstock.core.digests import digest_json, hex_of

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

TRIES = 3  # sizes of shards; also, rounds of single rows without any answer after which there is none
MOST = 8  # rounds that end without an answer to some row
NARROWER = 32  # by which shards of the next try are smaller


@dataclass(frozen=True, slots=True)
class Round:
    """`number` counts all rounds of the batch, `tried` those before this one that ended without an answer to some row, `fruitless` those of
    single rows that brought no answer at all.

    `shards`: (first row, rows). `open`: it may still be there, or something of it.
    """

    number: int
    tried: int
    shards: Sequence[tuple[int, int]]
    name: str
    asked: bool = False  # its lines are in the store
    open: bool = True
    longest_bytes: int = 0
    fruitless: int = 0

    @property
    def folder(self) -> str:
        return f"batches/{self.name}"

    @property
    def single(self) -> bool:
        return self.tried + 1 >= TRIES

    def names(self) -> dict[tuple[int, int], str]:
        """Of its shards. Services go by names: in the order of the file, at the second try from its end, then in one of chance."""
        if self.tried > 1:
            rank = {shard: hex_of(digest_json([self.number, *shard]))[:12] for shard in self.shards}
        else:
            rank = {shard: f"{at:012d}" for at, shard in enumerate(reversed(self.shards) if self.tried else self.shards)}
        return {(first, count): f"{rank[first, count]}-{first}-{count}.jsonl" for first, count in self.shards}

    def gives_up(self, got: bool) -> bool:
        """Whether rows without an answer have none for good, after a round that got some or none."""
        alone = len(self.shards) == 1 or self.fruitless + 1 >= TRIES
        return (self.single and not got and alone) or self.tried + 1 >= MOST

    def ended(self, got: bool, missing: bool) -> Round:
        """The round as the next one goes on from it."""
        return replace(self, tried=self.tried + missing, fruitless=self.fruitless + 1 if self.single and not got else 0)


def size_of(rows: int, tried: int) -> int:
    """Rows of a shard: fewer after each try."""
    return max(1, rows // NARROWER**tried) if tried + 1 < TRIES else 1


def begun(key: str, last: Round | None, shards: Sequence[tuple[int, int]], more: object) -> Round:
    """The next after `last`. `more`: on what it runs. Names have at most 63 of a-z, 0-9 and '-': what every vendor takes."""
    number, tried, fruitless = (last.number + 1, last.tried, last.fruitless) if last is not None else (1, 0, 0)
    mark = hex_of(digest_json([key, number, [list(shard) for shard in shards], more]))[:8]
    return Round(number, tried, tuple(shards), f"penstock-batch-{hex_of(key)[:16]}-{mark}", fruitless=fruitless)


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
