"""Topics that the window has and the reference lacks: dense spots of its vectors, described by the words that set them apart.

Of each row, the share of the window's rows within a radius is held against the share of the reference's sample there; the row with the most
in excess begins a topic, takes its neighbours, and so on. The radius is how near the nearest neighbour of a reference row mostly lies.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.monitoring.drift.moved import Moved, tellable
from penstock.monitoring.drift.nearest import Nearest, unit
from penstock.monitoring.drift.words import Words, bucket, words

MOST, LEAST_ROWS, LEAST_SHARE = 5, 4, 0.01
WIDEST, REACH = 0.5, 0.1  # the least cosine of a radius; its quantile of the reference's nearness
NAMES, EXAMPLES, MOVES = 5, 3, 4
FAR = 0.01  # quantile of the reference's nearness
_WINDOW = 2000  # rows that are looked at


def topics(reference: Nearest, vectors: np.ndarray, texts: Sequence[str], ids: Sequence[str], vocabulary: Words | None = None) -> Moved:
    """`rows`: the excess at each row, and how far it lies from everything.

    `vocabulary`: the reference's, by which common words are known as such.
    """
    looked = min(len(vectors), _WINDOW)
    own, sample = unit(vectors[:looked]), reference.sample.astype(np.float32)
    radius = max(WIDEST, float(reference.near.quantiles([REACH])[0]))
    inside = own @ own.T >= radius
    excess = inside.mean(1) - (own @ sample.T >= radius).mean(1) - 1 / looked
    said = [words(text) for text in texts[:looked]]
    free = np.ones(looked, bool)
    found: list[dict[str, Any]] = []
    least = max(LEAST_ROWS, LEAST_SHARE * looked)
    while len(found) < MOST:
        gain = np.where(free, (inside & free).sum(1) / looked - (own @ sample.T >= radius).mean(1), -1.0)
        centre = int(gain.argmax())
        if gain[centre] <= 0 or not inside[centre].any():
            break
        middle, rows = _settled(own, sample, free, own[centre], radius)
        was = float((sample @ middle >= radius).mean())
        if len(rows) < least or not _sure(len(rows) / looked, len(rows) / looked - was, looked, len(sample)):
            break
        free[rows] = False
        nearest = rows[np.argsort(-(own[rows] @ middle), kind="stable")]
        found.append(
            {
                "words": _names([said[int(row)] for row in rows], said, vocabulary),
                "share": round(len(rows) / looked, 4),
                "was": round(was, 4),
                "examples": [ids[row] for row in nearest[:EXAMPLES]],
            }
        )
    if (scattered := _scattered(reference, own, free, said, ids, vocabulary)) is not None:
        found.append(scattered)
    scores = np.zeros(len(vectors))
    far = 1 - np.minimum((own @ sample.T).max(1), 1.0)
    scores[:looked] = np.maximum(excess, 0) + np.maximum(far - (1 - radius), 0) + ~free  # those of a topic before all others
    return Moved({"topics": found} if found else {}, scores)


def _settled(own: np.ndarray, sample: np.ndarray, free: np.ndarray, start: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The middle of a topic and its rows: moved to the mean of what is around it for as long as that makes the excess larger."""
    middle, rows = start, np.flatnonzero(free & (own @ start >= radius))
    best = len(rows) / len(own) - float((sample @ middle >= radius).mean())
    for _ in range(MOVES if len(rows) else 0):
        moved = unit(own[rows].mean(0, keepdims=True))[0]
        around = np.flatnonzero(free & (own @ moved >= radius))
        excess = len(around) / len(own) - float((sample @ moved >= radius).mean())
        if excess <= best:
            break
        middle, rows, best = moved, around, excess
    return middle, rows


def _scattered(
    reference: Nearest, own: np.ndarray, free: np.ndarray, said: Sequence[list[str]], ids: Sequence[str], vocabulary: Words | None
) -> dict[str, Any] | None:
    """Rows of no topic that lie further from the reference than nearly all of its own do."""
    near = (own @ reference.sample.astype(np.float32).T).max(1)
    rows = np.flatnonzero(free & (near < float(reference.near.quantiles([FAR])[0])))
    if len(rows) < LEAST_ROWS or len(rows) < 4 * FAR * len(own):
        return None
    furthest = rows[np.argsort(near[rows], kind="stable")]
    return {
        "words": _names([said[int(row)] for row in rows], said, vocabulary, least=0.03),
        "share": round(len(rows) / len(own), 4),
        "was": FAR,
        "examples": [ids[row] for row in furthest[:EXAMPLES]],
        "scattered": True,
    }


def _sure(share: float, gain: float, window: int, sample: int) -> bool:
    """Whether so much is beyond what the largest of many spots has by chance."""
    was = max(share - gain, 0.0)
    pooled = (share * window + was * sample + 0.5) / (window + sample + 1)
    return gain > 3.0 * math.sqrt(pooled * (1 - pooled) * (1 / window + 1 / sample))


def _names(rows: Sequence[Sequence[str]], window: Sequence[Sequence[str]], vocabulary: Words | None, least: float = 0.15) -> list[str]:
    inside, everywhere = Counter(w for row in rows for w in row), Counter(w for row in window for w in row)
    outside, others = max(len(window) - len(rows), 1), {}
    for word, count in inside.items():
        if tellable(word) and count >= max(2, least * len(rows)):
            was = (everywhere[word] - count) / outside
            if vocabulary is not None:
                was = max(was, float(vocabulary.counts[bucket(word)]) / max(vocabulary.rows, 1))
            share = count / len(rows)
            others[word] = share * math.log((share + 0.01) / (was + 0.01))
    return [word for word, score in sorted(others.items(), key=lambda one: (-one[1], one[0]))[:NAMES] if score > 0]


def as_rows(moved: Moved, ids: Sequence[str], most: int = 5) -> list[Any]:
    """Ids of the rows that are most of what moved."""
    order = np.argsort(-moved.rows, kind="stable")[:most]
    return [ids[at] for at in order if moved.rows[at] > 0]
