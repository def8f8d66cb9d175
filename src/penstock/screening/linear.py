"""A linear model on hashed words, word pairs and letters inside words; small enough to ship, fast enough for the request path.

A text's score is the highest of its windows of `window` words: sigmoid(bias + sum of weights). Weights are bytes in one file
(`models/<name>.bin`: a JSON line that says where they come from, then one signed byte a bucket), made by `tools/screening_models.py`.
Hashing after Weinberger et al. 2009; letters inside words after Bojanowski et al. 2017.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any
from zlib import crc32

from penstock.screening.folding import folded

_NOISE = re.compile(r"@\w+|https?://\S+|&#?\w+;")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W\d_]+)?")
_LONGEST = 24  # letters of a word that are looked at
_REMEMBERED = 20_000  # words whose weight is kept


def words(text: str) -> Iterator[re.Match[str]]:
    """The words of a folded text; addresses, mentions and entities count as none."""
    return _WORD.finditer(_quiet(text))


def _quiet(text: str) -> str:
    return _NOISE.sub(lambda match: " " * len(match[0]), text) if "@" in text or "://" in text or "&" in text else text


def word_features(word: str) -> list[bytes]:
    """The word, and its runs of three and four letters with < and > at its borders."""
    raw = f"<{word[:_LONGEST]}>".encode()
    size = len(raw)
    return [raw, *[raw[at : at + 3] for at in range(size - 2)], *[raw[at : at + 4] for at in range(size - 3)]]


def pair_feature(first: str, second: str) -> bytes:
    return f"{first[:_LONGEST]} {second[:_LONGEST]}".encode()


class Linear:
    """`about` is the header of the file: data, licences, threshold."""

    def __init__(self, header: dict[str, Any], weights: bytes) -> None:
        self.about = header
        self.threshold: float = header["threshold"]
        self._bias, self._scale, self._window = float(header["bias"]), float(header["scale"]), int(header["window"])
        self._weights = array("b", weights)
        self._mask = len(weights) - 1
        self._known: dict[str, int] = {}

    def score(self, text: str) -> float:
        """0–1, of the window with the highest score. A text without words scores 0."""
        said = _WORD.findall(_quiet(folded(text).text))
        return self._chance(self._best(said)[0]) if said else 0.0

    def peak(self, text: str) -> tuple[int, int]:
        """Where the window with the highest score lies."""
        flat = folded(text)
        said = list(words(flat.text))
        last = self._best([match[0] for match in said])[1]
        return flat.spans([(said[max(0, last - self._window + 1)].start(), said[last].end())])[0]

    def _best(self, said: Sequence[str]) -> tuple[int, int]:
        """(highest sum of weights, last word of its window)."""
        weights, window = self._weigh(said), self._window
        best, last, total = -(1 << 62), 0, 0
        for index, weight in enumerate(weights):
            total += weight - (weights[index - window] if index >= window else 0)
            if total > best:
                best, last = total, index
        return best, last

    def _chance(self, total: int) -> float:
        return 1 / (1 + math.exp(-max(-60.0, min(60.0, self._bias + self._scale * total))))

    def _weigh(self, said: Sequence[str]) -> list[int]:
        """Of each word, with the pair that it ends."""
        known, weights, mask, out, before = self._known, self._weights, self._mask, [], ""
        for word in said:
            weight = known.get(word)
            if weight is None:
                if len(known) >= _REMEMBERED:
                    known.clear()
                weight = known[word] = sum([weights[crc32(feature) & mask] for feature in word_features(word)])
            out.append(weight + weights[crc32(pair_feature(before, word)) & mask] if before else weight)
            before = word
        return out


@cache
def load(name: str) -> Linear:
    """The model `name` that is shipped. Read when first asked for."""
    header, _, weights = (files("penstock.screening") / "models" / f"{name}.bin").read_bytes().partition(b"\n")
    return Linear(json.loads(header), weights)
