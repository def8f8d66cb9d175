"""`traceparent` as the W3C recommendation has it."""

from __future__ import annotations

import pytest

from penstock.serving.tracing import trace_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_valid_one_is_continued_with_a_span_of_our_own() -> None:
    found = trace_of({b"traceparent": f"00-{TRACE}-{PARENT}-00".encode()})
    assert (found.trace, found.parent, found.flags) == (TRACE, PARENT, "00")
    assert found.span != PARENT
    assert found.header() == f"00-{TRACE}-{found.span}-00"
    later = trace_of({b"traceparent": f"01-{TRACE}-{PARENT}-01-more".encode()})
    assert later.trace == TRACE


@pytest.mark.parametrize(
    "given", ["", "x", f"00-{TRACE}-{PARENT}", f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
              f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-more"],
)  # fmt: skip
def test_what_is_not_valid_begins_a_new_trace(given: str) -> None:
    found, other = trace_of({b"traceparent": given.encode()}), trace_of({})
    assert found.parent is None
    assert len({found.trace, other.trace, TRACE}) == 3
    assert (len(found.trace), len(found.span)) == (32, 16)
