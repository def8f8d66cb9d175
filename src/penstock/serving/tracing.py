"""Trace context (W3C Trace Context, level 1): one trace id from the client through gateway and replica."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

_AT_ONCE = 128  # ids that are drawn together: asking the system for each would cost more than all the rest here
_GIVEN = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


class Trace(NamedTuple):
    """`trace` 32 and `span` 16 hex digits; `parent` is the caller's span. `flags`: two hex digits, `01` when the caller samples."""

    trace: str
    span: str
    parent: str | None
    flags: str

    def header(self) -> str:
        """The value of `traceparent` for whom we ask."""
        return f"00-{self.trace}-{self.span}-{self.flags}"


def trace_of(headers: Mapping[bytes, bytes]) -> Trace:
    """A span of its own in the caller's trace, or in a new one where `traceparent` is absent or not valid."""
    given = headers.get(b"traceparent")
    if given is not None:
        found = _GIVEN.fullmatch(given.strip())
        if found is not None:
            version, trace, parent, flags, more = found.groups()
            if version != b"ff" and trace != _NO_TRACE and parent != _NO_SPAN and (version != b"00" or more is None):
                return Trace(trace.decode(), span_id(), parent.decode(), flags.decode())
    drawn = next(_DRAWN)
    return tuple.__new__(Trace, (drawn[:32], drawn[32:], None, "01"))


def span_id() -> str:
    return next(_DRAWN)[32:]


def _draw() -> Iterator[str]:
    """48 random hex digits, again and again."""
    while True:
        pool = os.urandom(24 * _AT_ONCE).hex()
        for at in range(0, len(pool), 48):
            yield pool[at : at + 48]


_DRAWN = _draw()
