import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.gates import ChampionEvidence, judge
from penstock.spec.gates import parse_gate

METRICS = {
    "accuracy": 0.9244,
    "accuracy.low": 0.9145,
    "accuracy.high": 0.9333,
    "interval.confidence": 0.95,
    "macro_f1": 0.921,
    "latency.p95_ms": 12.3456,
    "size_before_bytes": 90_000_000.0,
    "size_after_bytes": 23_500_000.0,
    "zero": 0.0,
    "broken": math.nan,
}


def verdict(text, metrics=METRICS, champion=None):
    (found,) = judge([parse_gate(text)], metrics, champion)
    assert found.gate_text == text
    return found


@pytest.mark.parametrize(
    ("text", "passed", "reason"),
    [
        ("accuracy >= 0.90", True, "accuracy 0.9244 (95 % interval 0.914–0.933) ≥ 0.9"),
        ("accuracy >= 0.93", False, "accuracy 0.9244 (95 % interval 0.914–0.933) < 0.93"),
        ("low(accuracy) >= 0.92", False, "low end of accuracy 0.9145 < 0.92"),
        ("latency.p95_ms <= 20ms", True, "latency.p95_ms 12.35 ≤ 20"),
        (
            "size_after_bytes <= 0.5 * size_before_bytes",
            True,
            "size_after_bytes 23,500,000 ≤ 0.5 × size_before_bytes = 45,000,000",
        ),
        ("macro_f1 > 0.9 and latency.p95_ms < 10", False, "latency.p95_ms 12.35 ≥ 10"),
        ("macro_f1 > 0.9 and latency.p95_ms < 20", True, "macro_f1 0.921 > 0.9; latency.p95_ms 12.35 < 20"),
        ("macro_f1 > 0.95 or latency.p95_ms < 20", True, "latency.p95_ms 12.35 < 20"),
        ("macro_f1 > 0.95 or latency.p95_ms < 2", False, "macro_f1 0.921 ≤ 0.95; latency.p95_ms 12.35 ≥ 2"),
        ("0.9 < macro_f1 < 0.92", False, "macro_f1 0.921 ≥ 0.92"),
        ("macro_f1 / zero > 1", False, "cannot be computed from macro_f1 0.921, zero 0"),
        ("broken < 1", False, "cannot be computed from broken nan"),
        ("acuracy > 0.9", False, "there is no metric 'acuracy'; the nearest are accuracy, accuracy.low, accuracy.high"),
        ("low(macro_f1) > 0.9", False, "metric 'macro_f1' has no confidence interval"),
    ],
)
def test_a_verdict_tells_the_numbers(text, passed, reason):
    found = verdict(text)
    assert (found.passed, found.reason) == (passed, reason)


def test_a_missing_metric_is_refused_even_where_the_comparison_would_hold():
    assert not verdict("never_measured != 1", {}).passed
    assert verdict("never_measured != 1", {}).reason == "there is no metric 'never_measured'; there are none"


def test_without_a_champion_there_is_nothing_to_be_worse_than():
    found = verdict("not_worse_than(champion, accuracy, margin=0.005)")
    assert (found.passed, found.reason) == (True, "no champion yet")
    assert not verdict("not_worse_than(champion, accuracy) and accuracy > 0.95").passed


def predictions(path, right, ids=None):
    rows = len(right)
    table = {"id": ids or [str(i) for i in range(rows)], "label": [0] * rows, "prediction": [0 if r else 1 for r in right]}
    pl.DataFrame({**table, "confidence": [0.9] * rows, "correct": right}).write_parquet(path)
    return path


def test_against_a_champion_on_the_same_rows(tmp_path):
    rng = np.random.default_rng(3)
    good, bad = (rng.random(2000) < 0.93).tolist(), (rng.random(2000) < 0.85).tolist()
    better = ChampionEvidence(predictions(tmp_path / "g", good), predictions(tmp_path / "b", bad), "version 4")
    worse = ChampionEvidence(tmp_path / "b", tmp_path / "g")
    test = "not_worse_than(champion, accuracy, margin=0.005, confidence=0.95)"
    found = verdict(test, champion=better)
    assert found.passed
    assert "on 2,000 shared rows" in found.reason
    assert found.reason.endswith("which is above -0.0050")
    assert found.evidence["against"] == "version 4"
    assert found.evidence["rows"] == 2000
    refused = verdict(test, champion=worse)
    assert not refused.passed
    assert refused.reason.endswith("but must be above -0.0050")


def test_other_rows_are_refused_with_the_reason(tmp_path):
    evidence = ChampionEvidence(predictions(tmp_path / "a", [True] * 5), predictions(tmp_path / "b", [True] * 5, list("vwxyz")))
    found = verdict("better_than(champion, accuracy)", champion=evidence)
    assert not found.passed
    assert found.reason.startswith("cannot be tested against champion: not the same rows")


finite = st.floats(-1e9, 1e9)


@given(finite, finite, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_a_comparison_and_its_opposite_never_agree(a, b, sign):
    opposite = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}[sign]
    first, second = judge([parse_gate(f"a {sign} b"), parse_gate(f"a {opposite} b")], {"a": a, "b": b})
    assert first.passed != second.passed
    assert first.evidence == {"a": a, "b": b}
