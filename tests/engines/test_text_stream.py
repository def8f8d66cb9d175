"""Whole characters and stop strings, whatever the tokens are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from penstock.engines.text_stream import TextStream


def as_bytes(ids: Sequence[int]) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def streamed(data: bytes, stop: Sequence[str] = (), cuts: Sequence[int] = ()) -> tuple[list[str], TextStream]:
    stream, pieces = TextStream(as_bytes, stop), []
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)} | (set() if cuts else set(range(len(data)))))
    for begin, end in itertools.pairwise(places):
        pieces.append(stream.feed(list(data[begin:end])))
        if stream.stopped:
            return pieces, stream
    return [*pieces, stream.finish()], stream


@given(st.text(max_size=40), st.lists(st.integers(0, 200), max_size=6))
def test_pieces_are_whole_characters_and_make_the_text(text: str, cuts: list[int]) -> None:
    if "\ufffd" in text:
        return
    pieces, _ = streamed(text.encode(), cuts=cuts)
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces)


@given(st.text("ab€", max_size=30), st.lists(st.text("ab€", min_size=1, max_size=4), min_size=1, max_size=3))
def test_text_ends_before_the_first_stop_string(text: str, stop: list[str]) -> None:
    pieces, stream = streamed(text.encode(), stop)
    shown = "".join(pieces)
    assert stream.stopped == any(one in text for one in stop)
    assert text.startswith(shown)
    assert not any(one in shown for one in stop)
    if not stream.stopped:
        assert shown == text


def test_a_character_that_stays_half_is_dropped() -> None:
    pieces, _ = streamed("ab€".encode()[:-1])
    assert "".join(pieces) == "ab"
