"""Frames to bytes and back, and bytes of every other kind."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.windows import codec
from penstock.monitoring.windows.codec import HEAD_BYTES, Frame, Span, decode, encode, read_head
from penstock.monitoring.windows.columns import columns
from penstock.monitoring.windows.folding import Slices, fold
from penstock.monitoring.windows.window import Cells
from penstock.testing.windows import ROWS, row

SPAN = Span(60.0, 60.0, 3)


def frame_of(rows: list[dict[str, Any]]) -> Frame:
    cells: Cells = {}
    placed = Slices(("channel",)).place(columns(rows))
    fold(cells, placed, 0, len(placed.columns.rows))
    return Frame(SPAN, cells)


@given(ROWS)
def test_bytes_and_back(rows: list[dict[str, Any]]) -> None:
    frame = frame_of(rows)
    assert decode(encode(frame)) == frame


WHOLE = encode(frame_of([row(n, label="a", confidence=0.5) for n in range(20)]))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_one_damaged_byte_is_seen(place: int, change: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= change
    with pytest.raises(ValueError):
        decode(bytes(damaged))


@given(st.integers(0, len(WHOLE) - 1))
def test_half_a_frame_is_refused(size: int) -> None:
    with pytest.raises(ValueError):
        decode(WHOLE[:size])
    with pytest.raises(ValueError):
        decode(WHOLE + WHOLE[:size] if size else WHOLE + b"x")


def sealed(body: bytes, span: tuple[float, float, int] = (60.0, 60.0, 0), size: int | None = None) -> bytes:
    """A frame with sound checksums around whatever."""
    head = struct.pack("<4sBIddII", codec.MAGIC, codec.VERSION, len(body) if size is None else size, *span, zlib.crc32(body))
    return head + struct.pack("<I", zlib.crc32(head)) + body


def packed(value: object) -> bytes:
    return sealed(zlib.compress(orjson.dumps(value)))


GOOD: list[Any] = ["live", "1", "r", "", {"requests": 1}, {"total_ms": [5, 1]}, {"a": 1}, {"3": 1}]


def test_the_seal_of_these_tests_is_the_right_one() -> None:
    assert len(decode(packed([GOOD])).cells) == 1


@pytest.mark.parametrize(
    "data",
    [
        packed({}),
        packed([GOOD, GOOD]),
        packed([GOOD[:7]]),
        packed([["dead", *GOOD[1:]]]),
        packed([["live", 1, *GOOD[2:]]]),
        packed([["live", "x" * 5000, *GOOD[2:]]]),
        packed([[*GOOD[:4], {"requests": "1"}, *GOOD[5:]]]),
        packed([[*GOOD[:4], {"requests": 1e300}, *GOOD[5:]]]),
        packed([[*GOOD[:4], {"unknown": 1}, *GOOD[5:]]]),
        packed([[*GOOD[:5], {"total_ms": [5000, 1]}, *GOOD[6:]]]),
        packed([[*GOOD[:5], {"other_ms": [5, 1]}, *GOOD[6:]]]),
        packed([[*GOOD[:6], {"a": -1}, GOOD[7]]]),
        packed([[*GOOD[:6], {"a": True}, GOOD[7]]]),
        packed([[*GOOD[:7], {"50": 1}]]),
        packed([[*GOOD[:7], [1]]]),
        sealed(b"no zlib"),
        sealed(zlib.compress(b"no json")),
        sealed(zlib.compress(b"[]")[:-3]),
        sealed(zlib.compress(b"[]"), span=(float("nan"), 60.0, 0)),
        sealed(zlib.compress(b"[]"), span=(60.0, 0.0, 0)),
        sealed(zlib.compress(b"[]"), size=1 << 30),
    ],
)
def test_what_no_encoder_of_ours_made_is_refused_though_its_checksums_are_right(data: bytes) -> None:
    with pytest.raises(ValueError):
        decode(data)


def test_a_body_that_unpacks_to_far_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_JSON", 1 << 20)
    bomb = sealed(zlib.compress(b"[" + b" " * (4 << 20) + b"]"))
    assert len(bomb) < 10_000
    with pytest.raises(ValueError, match="too large"):
        decode(bomb)


def test_a_head_tells_where_the_next_frame_begins() -> None:
    two = WHOLE + encode(frame_of([]))
    head = read_head(two[:HEAD_BYTES], 0)
    assert head is not None
    assert (head.span, head.end) == (SPAN, len(WHOLE))
    assert read_head(two[1 : 1 + HEAD_BYTES], 1) is None
