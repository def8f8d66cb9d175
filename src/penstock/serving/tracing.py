"""Trace context (W3C Trace Context, level 1): one trace id from the client through gateway and replica."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

_DRAW = random.Random(os.urandom(16))  # ids, not secrets
_GIVEN = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


@dataclass(slots=True)
class Trace:
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
    drawn = f"{_DRAW.getrandbits(192):048x}"
    return Trace(drawn[:32], drawn[32:], None, "01")


def span_id() -> str:
    return f"{_DRAW.getrandbits(64) or 1:016x}"
