"""Lines that wait: what went in comes out, once and in order, in pieces of whole lines; the memory is used again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving import record_lines
from penstock.serving.record_lines import Lines

LINE = st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"") + b"\n")
LATE = st.text(max_size=3)


@given(st.lists(st.lists(LINE | LATE, max_size=30), max_size=4), st.integers(1, 200))
def test_what_went_in_comes_out_in_order_and_in_whole_lines(rounds: list[list[bytes | str]], piece: int) -> None:
    patch, lines = pytest.MonkeyPatch(), Lines[tuple[str]]()
    patch.setattr(record_lines, "PIECE", piece)
    try:
        for items in rounds:
            for item in items:
                lines.add(item) if isinstance(item, bytes) else lines.add_late((item,))
            assert lines.count == len(items)
            assert lines.size == sum(len(item) for item in items if isinstance(item, bytes))
            found: list[bytes | str] = []
            for one in lines.pieces():
                if len(one) == 1:
                    found.append(one[0])
                    continue
                data, count = bytes(one[0]), one[1]
                assert data.count(b"\n") == count > 0
                assert len(data) <= piece or count == 1
                found += [part + b"\n" for part in data.split(b"\n")[:-1]]
            assert b"".join(x for x in found if isinstance(x, bytes)) == b"".join(x for x in items if isinstance(x, bytes))
            kinds = [x if isinstance(x, str) else b"" for x in found]
            assert kinds == [x if isinstance(x, str) else b"" for x in items]
            lines.clear()
            assert (lines.count, lines.size, list(lines.pieces())) == (0, 0, [])
    finally:
        patch.undo()


def test_what_a_burst_took_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_lines, "KEPT", 1000)
    lines = Lines[tuple[str]]()
    for size, kept in ((500, 500), (2000, 0), (300, 300), (200, 300)):
        lines.add(b"a" * (size - 1) + b"\n")
        lines.clear()
        assert len(lines._data) == kept
