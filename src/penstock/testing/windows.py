"""Rows for windows: one, any, and what folding makes of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from penstock.monitoring.windows.columns import columns
from penstock.monitoring.windows.folding import Slices, fold
from penstock.monitoring.windows.window import Cells
from penstock.testing.watched import record

T = 1_700_000_000.0


def row(number: int, at: float = T, **changes: Any) -> dict[str, Any]:
    """As the watcher gives it to measures."""
    return {**record(number, at, **changes), "at": at}


ROWS = st.lists(
    st.builds(
        row,
        st.integers(0, 9),
        status=st.sampled_from([200, 200, 201, 302, 400, 404, 429, 499, 500, 503]),
        version=st.sampled_from(["1", "2", None]),
        replica=st.sampled_from(["a", "b", None]),
        total_ms=st.floats(0.01, 1e5),
        attempts=st.integers(0, 3),
        completion_tokens=st.integers(0, 500),
        cost_usd=st.integers(0, 8).map(lambda n: n / 8),
        shadow_of=st.sampled_from([None, None, None, "req-9"]),
        fallback_for=st.sampled_from([None, None, None, "other"]),
        label=st.sampled_from([None, "yes", "no"]),
        confidence=st.sampled_from([None, 0.0, 0.5, 1.0]),
        flags=st.sampled_from([[], ["input:words:flag:x=1"], ["output:words:block:x=1"]]),
        metadata=st.sampled_from([None, {}, {"channel": "web"}, {"channel": "app"}, '{"channel": "web"}']),
    ),
    max_size=60,
)


def folded(rows: list[dict[str, Any]], *names: str, batch: int = 1000, slices: Slices | None = None) -> Cells:
    """The cells of one window with all rows, `batch` at a time; `names`: of slices."""
    cells: Cells = {}
    told = slices or Slices(names)
    for start in range(0, len(rows), batch):
        placed = told.place(columns(rows[start : start + batch]))
        fold(cells, placed, 0, len(placed.columns.rows))
    return cells
