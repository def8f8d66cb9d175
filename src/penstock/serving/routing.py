"""Weighted traffic: which version serves a request.

Sticky by key through rendezvous hashing (Thaler & Ravishankar 1998; weighted by -w / ln h, Schindelhauer & Schomaker 2005), so shifting
weight moves the fewest clients. Not covered: choosing the replica inside a version (see upstream.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping


def pick_version(weights: Mapping[str, float], key: bytes, without: Collection[str] = ()) -> str | None:
    """The version for `key`; the same key keeps its version while weights allow. None when no weight is left.

    `without`: versions that cannot serve now; only the keys that were theirs move.
    """
    left = [name for name, weight in weights.items() if weight > 0 and name not in without]
    if len(left) < 2:
        return left[0] if left else None
    return max(left, key=lambda name: _score(key, name, weights[name]))


def _score(key: bytes, name: str, weight: float) -> float:
    drawn = hashlib.blake2b(key, digest_size=7, salt=name.encode()[-16:]).digest()
    return -weight / math.log((int.from_bytes(drawn, "big") + 0.5) / (1 << 56))
