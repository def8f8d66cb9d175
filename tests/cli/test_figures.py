"""Metrics for people: intervals beside their number, sizes in words."""

from __future__ import annotations

from penstock.cli import compare
from penstock.cli.commands.run import _lines
from penstock.cli.figures import headline, listed
from penstock.control.api import RunResult

METRICS = {"accuracy": 0.92951, "accuracy.low": 0.92, "accuracy.high": 0.93811, "size_bytes": 24179212.0, "water.low": 3.0}


def test_an_interval_stands_beside_its_number() -> None:
    assert listed(METRICS) == ["accuracy 0.9295 (0.92–0.9381)", "size_bytes 23.1 MiB", "water.low 3"]


def test_the_headline_has_what_people_look_at_first() -> None:
    assert headline(METRICS) == "accuracy 0.9295"
    assert headline({"b.x": 2.0, "a.y": 1.0}) == "a.y 1  b.x 2"
    assert headline({}) == ""


def test_a_comparison_leaves_out_the_ends_of_intervals() -> None:
    rows = compare.metrics(METRICS, METRICS)
    assert len(rows) == 5
    assert [line.split()[0] for line in compare.lines(("v1", "v2"), rows)] == ["METRIC", "accuracy", "size_bytes", "water.low"]


def test_what_stopped_a_run_is_named_with_its_step_and_place() -> None:
    error = {"message": "no such file", "remedy": "Correct it.", "where": "work.py:7 in read"}
    steps = [{"name": "top", "phase": "succeeded"}, {"name": "read", "phase": "failed"}]
    failed = RunResult("run-1", "failed", {"accuracy": 0.5}, [], None, [], None, error, steps)
    assert _lines(failed) == ["run run-1: failed", "error: step read: work.py:7 in read: no such file", "Correct it.", "accuracy 0.5"]
