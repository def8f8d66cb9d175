"""The head of a request, and how the same head is known again without parsing it again.

A client that keeps its connection sends nearly the same head each time: only the digits of `content-length` differ. What was parsed once
and is equal to the byte but for those digits, which still are digits, means the same. Not covered: heads without a length and heads that
come in pieces, which are parsed each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_LENGTH = b"\r\ncontent-length:"
_DIGITS, _LONGEST = 9, 4096  # of a length, and bytes of a head, that is known again


@dataclass(slots=True, eq=False)
class Head:
    """Never changed: exchanges of one connection may share it. `headers` are without `content-length`: the body says how long it is.

    `notes`: what a handler found out from the head alone and wants to find here next time.
    """

    method: bytes
    path: str
    headers: dict[bytes, bytes]
    version_1_1: bool = True
    keep_alive: bool = True
    notes: Any = None


class Known:
    """A head that was parsed, and its bytes before and after the digits of the length."""

    __slots__ = ("_after", "_before", "_from", "_to", "head")

    def __init__(self, head: Head, before: bytes, after: bytes) -> None:
        self.head, self._before, self._after = head, before, after
        self._from = len(before)
        self._to = self._from + _DIGITS + len(after)

    def body(self, data: bytes) -> bytes | None:
        """The body, when `data` is one whole request with this head and nothing else."""
        if not data.startswith(self._before):
            return None
        end = data.find(self._after, self._from, self._to)
        digits = data[self._from : end]
        if end < 0 or not digits.isdigit():
            return None
        body = data[end + len(self._after) :]
        return body if len(body) == int(digits) else None

    def begin(self, data: bytes) -> tuple[int, bytes] | None:
        """Length of the body and what `data` has of it, when `data` begins with this head: many clients send head and body apart."""
        end = data.find(self._after, self._from, self._to) if data.startswith(self._before) else -1
        digits = data[self._from : end]
        return (int(digits), data[end + len(self._after) :]) if end >= 0 and digits.isdigit() else None


def known(data: bytes, head: Head, length: int, got: int) -> Known | None:
    """To know `head` again, which was parsed out of the beginning of `data`; None for heads of any but the plainest kind.

    `length`: what it said of its body; `got`: how much of that `data` had. They show that the head ended where it seems to end.
    """
    end = data.find(b"\r\n\r\n") + 4
    lines = data[:end].lower()
    start = lines.find(_LENGTH) + len(_LENGTH)
    if end > _LONGEST or start < len(_LENGTH) or _LENGTH in lines[start:] or b"\r\ntransfer-encoding" in lines or b"\r\nexpect" in lines:
        return None
    while lines[start : start + 1] == b" ":
        start += 1
    stop = start
    while lines[stop : stop + 1].isdigit():
        stop += 1
    found = Known(head, data[:start], data[stop:end])
    seen = found.begin(data)
    return found if seen is not None and seen[0] == length and len(seen[1]) == got else None
