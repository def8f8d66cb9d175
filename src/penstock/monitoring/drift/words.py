"""The vocabulary of texts: in how many texts each word occurs, by a hash of the word. From the counts no text and no word can be read.

A word is a run of letters and digits, case folded, every digit 0; of scripts without spaces (Chinese, Japanese, Thai …) pairs of letters.
What masking put in ([EMAIL]) counts as one word, and is never told as one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np

from penstock.core.errors import ArtifactCorrupt
from penstock.monitoring.drift.encoded import Packed, checked_counts, pack

BUCKETS = 1 << 15
LONGEST = 40  # letters of a word
MASKED = re.compile(r"\[[A-Z][A-Z0-9_]*\]")
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"\[[A-Z][A-Z0-9_]*\]|[{_SPACELESS}]+|[^\W_{_SPACELESS}]+(?:['’][^\W\d_{_SPACELESS}]+)?")
_DIGIT = re.compile(r"\d")
_FIRST_SPACELESS, _SPACELESS_RUN = "\u0e00", re.compile(f"[{_SPACELESS}]")


def words(text: str) -> list[str]:
    """The distinct words of a text, in order of appearance."""
    return list(dict.fromkeys(word for token in _TOKEN.findall(text) for word in _words_of(token)))


def _words_of(token: str) -> list[str]:
    if token[0] == "[":
        return [token]
    if token[0] >= _FIRST_SPACELESS and len(token) > 1 and _SPACELESS_RUN.match(token):
        return [token[at : at + 2] for at in range(len(token) - 1)]
    return [_DIGIT.sub("0", token.casefold()[:LONGEST])]


class _Known(dict[str, tuple[int, ...]]):
    """The buckets of each token met: most are met again."""

    def __missing__(self, token: str) -> tuple[int, ...]:
        found = self[token] = tuple({bucket(word) for word in _words_of(token)})
        return found


def bucket(word: str) -> int:
    return crc32(word.encode(errors="replace")) & (BUCKETS - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Bags:
    """Rows of buckets, one after the other: row i is `buckets[starts[i]:starts[i + 1]]`."""

    starts: np.ndarray  # (rows + 1,) int64
    buckets: np.ndarray  # (words,) uint32

    @classmethod
    def of(cls, texts: Sequence[str]) -> Bags:
        known = _Known()
        rows = [set().union(*[known[token] for token in set(_TOKEN.findall(text))]) for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)]).astype(np.int64)
        return cls(starts, np.fromiter(chain.from_iterable(rows), np.uint32, int(starts[-1])))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: Any) -> Bags:
        at = np.arange(len(self))[rows]
        sizes = self.starts[at + 1] - self.starts[at]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return Bags(starts, self.buckets[np.arange(starts[-1]) + np.repeat(self.starts[at] - starts[:-1], sizes)])


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """`counts[b]`: texts with a word of bucket b; `rows` texts in all."""

    counts: np.ndarray  # (BUCKETS,) float64
    rows: float = 0.0
    kind: ClassVar[str] = "words"

    @classmethod
    def fit(cls, values: Any) -> tuple[Self, Any]:
        lifted = Bags.of(values)
        return cls(np.zeros(BUCKETS)).of(lifted), lifted

    def lift(self, values: Any) -> Bags:
        return Bags.of(values)

    def of(self, lifted: Bags) -> Self:
        return type(self)(np.bincount(lifted.buckets, minlength=BUCKETS).astype(float), float(len(lifted)))

    def merge(self, other: Self) -> Self:
        return type(self)(self.counts + other.counts, self.rows + other.rows)

    def less(self, other: Self) -> Self:
        return type(self)(np.maximum(self.counts - other.counts, 0.0), max(self.rows - other.rows, 0.0))

    def encode(self) -> bytes:
        there = np.flatnonzero(self.counts)
        return pack(self.kind, {"rows": self.rows}, {"buckets": there.astype("<u4"), "counts": self.counts[there]})

    @classmethod
    def decode(cls, packed: Packed) -> Self:
        at, counts = packed.array("buckets", "<u4"), checked_counts(packed.array("counts", "<f8"), cls.kind)
        if len(at) != len(counts) or (len(at) and (int(at.max()) >= BUCKETS or (np.diff(at.astype(np.int64)) <= 0).any())):
            raise ArtifactCorrupt("the buckets of a words sketch are not in order, or not as many as its counts")
        dense = np.zeros(BUCKETS)
        dense[at] = counts
        return cls(dense, packed.number("rows"))
