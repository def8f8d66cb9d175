"""Which replica has seen the beginning of a prompt: an engine with a prefix cache then need not read it again.

A prompt is known by hashes of its first 256·2^k bytes. The replica that saw the longest known beginning is asked, unless it has more than
MARGIN requests above the least loaded one: waiting costs more than reading again. The memory is bounded; what was not used longest is
forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

FIRST_BYTES, LONGEST_BYTES = 256, 64 << 10
MARGIN, REMEMBERED = 4, 16_384

ReplicaT = TypeVar("ReplicaT")
_KEYS = (b'"messages"', b'"prompt"')


def marks(body: bytes) -> tuple[int, ...]:
    """Hashes of the beginnings of the prompt in a request's JSON, shortest first; none when it is shorter than FIRST_BYTES.

    Python's keyed hash is used, which differs from process to process: marks must not be stored or compared across processes.
    """
    for key in _KEYS:
        if (start := body.find(key)) >= 0:
            break
    else:
        return ()
    found, size, length = [], FIRST_BYTES, len(body) - start
    while size <= length and size <= LONGEST_BYTES:
        found.append(hash(body[start : start + size]))
        size *= 2
    return tuple(found)


class PrefixMemory:
    """Beginning → replica that saw it last."""

    def __init__(self, bound: int = REMEMBERED) -> None:
        self.bound = bound
        self.hits = self.misses = 0  # choices among several replicas: of the one that knew the beginning, and others
        self._seen: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, hit: bool) -> None:
        if hit:
            self.hits += 1
        else:
            self.misses += 1

    def recall(self, beginnings: Sequence[int]) -> str | None:
        """Id of the replica that saw the longest of `beginnings`."""
        for mark in reversed(beginnings):
            if (ident := self._seen.get(mark)) is not None:
                return ident
        return None

    def remember(self, beginnings: Sequence[int], ident: str) -> None:
        for mark in beginnings:
            self._seen.pop(mark, None)  # to the end: what was used last is forgotten last
            self._seen[mark] = ident
        while len(self._seen) > self.bound:
            del self._seen[next(iter(self._seen))]


def prefer(
    replicas: Sequence[ReplicaT], loads: Sequence[int], ident: str | None, name: Callable[[ReplicaT], str], margin: int = MARGIN
) -> ReplicaT:
    """The replica called `ident` while its load is at most `margin` above the least, else the least loaded one. `replicas` is not empty."""
    least = min(loads)
    if ident is not None:
        for replica, load in zip(replicas, loads, strict=True):
            if name(replica) == ident:
                if load <= least + margin:
                    return replica
                break
    return replicas[loads.index(least)]
