"""Copies beside their live requests: counted in pairs; copies never count as requests of clients."""

from __future__ import annotations

from typing import Any

from penstock.control.shadows import by_version, compare_shadow


def record(ident: str, version: str, **more: Any) -> dict[str, Any]:
    base = {"id": ident, "model": "m", "version": version, "status": 200, "prompt_tokens": 3, "completion_tokens": 5, "total_ms": 10.0}
    return {**base, "shadow_of": None, "text_out": None, **more}


ROWS = [
    record("a", "1", text_out="yes"),
    record("b", "1", text_out="no"),
    record("c", "1"),
    record("a-shadow", "2", shadow_of="a", text_out="yes", total_ms=20.0),
    record("b-shadow", "2", shadow_of="b", text_out="yes", total_ms=30.0, completion_tokens=6),
    record("c-shadow", "2", shadow_of="c", status=503),
    record("d-shadow", "2", shadow_of="d"),
    record("a-other", "3", shadow_of="a"),
    record("x", "2", model="other"),
    record("e", "1", status=502, total_ms=900.0),
]


def test_pairs_are_compared() -> None:
    assert compare_shadow(ROWS, "m", "2") == {
        "copies": 4,
        "pairs": 3,
        "same_status": 2,
        "shadow_failed": 1,
        "same_tokens": 1,
        "captured": 2,
        "same_text": 1,
        "slower": 2.5,
    }
    assert compare_shadow([], "m", "2")["slower"] is None


def test_only_clients_requests_count_for_a_version() -> None:
    assert by_version(ROWS, "m") == {"1": {"requests": 4, "failed": 1, "median_ms": 10.0}}
