"""Lines of records that wait to be written, in memory that is used again; between them, records whose texts are not masked yet.

Not covered: threads. One fills, and hands the whole over to another that empties it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

KEPT, PIECE = 8 << 20, 1 << 20  # bytes that stay allocated, and of one system call
LateT = TypeVar("LateT")


class Lines(Generic[LateT]):
    """`count` lines, each ending in a line feed and without another; `late` ones come at the place where they were put."""

    __slots__ = ("_data", "_late", "count", "size")

    def __init__(self) -> None:
        self._data = bytearray()
        self._late: list[tuple[int, LateT]] = []
        self.count = self.size = 0

    def add(self, line: bytes) -> None:
        start = self.size
        self.size = end = start + len(line)
        self._data[start:end] = line  # a freed line is in the processor's cache for the next one; thousands of them would not be
        self.count += 1

    def add_late(self, one: LateT) -> None:
        self._late.append((self.size, one))
        self.count += 1

    def pieces(self) -> Iterator[tuple[memoryview, int] | LateT]:
        """In order: lines with their number, and late ones. What is given is only good until the next piece."""
        start = 0
        for end, one in self._late:
            yield from self._whole(start, end)
            yield one
            start = end
        yield from self._whole(start, self.size)

    def clear(self) -> None:
        self._late.clear()
        self.count = self.size = 0
        if len(self._data) > KEPT:
            self._data = bytearray()

    def _whole(self, start: int, end: int) -> Iterator[tuple[memoryview, int]]:
        while start < end:
            stop = end if end - start <= PIECE else self._data.rfind(b"\n", start, start + PIECE) + 1
            stop = stop or self._data.index(b"\n", start) + 1  # a line longer than a piece
            with memoryview(self._data) as view, view[start:stop] as piece:
                yield piece, self._data.count(b"\n", start, stop)
            start = stop
