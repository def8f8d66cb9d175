"""Rules from the file: Prometheus' tool takes them, and finds them to fire when Penstock would."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from penstock.control.measures.promql import Scope, duration
from penstock.control.rules.expressions import Inexpressible, alert
from penstock.control.rules.groups import Wish, rules_file
from penstock.spec.react import AlertRule
from penstock.spec.watches import parse_watch
from penstock.testing.prometheus import NO_PROMETHEUS, PROMTOOL

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=NO_PROMETHEUS)
ALERTS = [
    {"when": "error_rate > 2% for 2m", "name": "errors", "severity": "critical", "clear_after": "3m"},
    {"when": "latency.p95_ms > 500 and requests > 100", "name": "slow"},
    {"when": "drift.words or anomaly for 1m", "name": "moved", "clear_after": 0},
    {"when": "cost.day - 1 USD > 5 USD or live.accuracy < 0.8", "name": "dear", "clear_after": 0},
    {"when": "low(live.accuracy) > 0.5"},
]
ROLLBACK = ["error_rate > 1%", "latency.p95_ms > 50", "worse_than(champion, error_rate, margin=1%)", "drift.words"]
WISH = Wish("desk", 60.0, [AlertRule.model_validate(one) for one in ALERTS], ROLLBACK)
Check = Callable[[Sequence[dict[str, Any]], dict[str, dict[str, list[dict[str, Any]]]]], None]


def promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`promtool test rules`: of these series, what fires by time and alert."""

    def checked(series: Sequence[dict[str, Any]], fires: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
        (tmp_path / "rules.yml").write_text(rules_file(WISH).as_yaml())
        expected = [
            {"eval_time": at, "alertname": name, "exp_alerts": found} for at, alerts in fires.items() for name, found in alerts.items()
        ]
        test = {"interval": "15s", "input_series": series, "alert_rule_test": expected}
        (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}))
        promtool("test", "rules", str(tmp_path / "test.yml"))

    return checked


def series(name: str, values: str, **labels: str) -> dict[str, Any]:
    shown = ",".join(f'{key}="{value}"' for key, value in {"model": "desk", **labels}.items())
    return {"series": f"{name}{{{shown}}}", "values": values}


def signal(name: str, values: str, version: str = "") -> dict[str, Any]:
    return series("penstock_signal", values, signal=name, **({"version": version} if version else {}))


def fired(said: str, value: str, **labels: str) -> dict[str, Any]:
    found = told(f"desk: {said} (now {value})", "penstock monitor desk; penstock explain desk", **labels)
    found["exp_labels"]["deployment"] = "desk"
    return found


def told(summary: str, remedy: str, **labels: str) -> dict[str, Any]:
    return {"exp_labels": {"source": "prometheus", **labels}, "exp_annotations": {"summary": summary, "description": remedy}}


@needs_promtool
def test_its_tool_takes_them(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_file(WISH).as_yaml())
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(tmp_path / "rules.yml"))


@needs_promtool
def test_a_rate_fires_after_its_time_and_goes_on_until_it_is_over(check: Check) -> None:
    failed = "0+10x20 200x40"  # of 100 in every 15 s, for five minutes
    said = "error_rate > 2% for 2m"
    asked = [series("penstock_failed_total", failed, version="1"), series("penstock_requests_total", "0+100x60", version="1", status="200")]
    firing, late = fired(said, "0.1", severity="critical"), fired(said, "0.025", severity="critical")
    check(asked, {"2m": {"errors": []}, "2m30s": {"errors": [firing]}, "8m30s": {"errors": [late]}, "9m30s": {"errors": []}})


@needs_promtool
def test_both_sides_of_an_and_must_hold(check: Check) -> None:
    slow = [signal("latency.p95_ms", "600x40"), signal("latency.p95_ms", "900x40", "2")]
    check([*slow, signal("requests", "50x40")], {"5m": {"slow": []}})
    said = "latency.p95_ms > 500 and requests > 100"
    check([*slow, signal("requests", "150x40")], {"5m": {"slow": [fired(said, "600", severity="warning")]}})
    check(slow, {"5m": {"slow": []}})


@needs_promtool
def test_a_signal_alone_is_held_to_its_own_limit_by_version(check: Check) -> None:
    drift = [signal("drift.words", "0.4x40", version) for version in ("1", "2")]
    limits = [series("penstock_signal_limit", limit, signal="drift.words", version=v) for v, limit in (("1", "0.5x40"), ("2", "0.3x40"))]
    said = "drift.words or anomaly for 1m"
    check([*drift, *limits], {"30s": {"moved": []}, "2m": {"moved": [fired(said, "0.4", severity="warning", version="2")]}})


@needs_promtool
def test_sums_and_either_side_of_an_or(check: Check) -> None:
    said = "cost.day - 1 USD > 5 USD or live.accuracy < 0.8"
    check([signal("cost.day", "7x40"), signal("live.accuracy", "0.9x40")], {"1m": {"dear": [fired(said, "6", severity="warning")]}})
    check([signal("cost.day", "2x40"), signal("live.accuracy", "0.75x40")], {"1m": {"dear": [fired(said, "0.75", severity="warning")]}})
    check([signal("cost.day", "2x40"), signal("live.accuracy", "0.9x40")], {"1m": {"dear": []}})


@needs_promtool
def test_roll_back_is_told_of_versions_that_share_the_traffic_and_were_asked_enough(check: Check) -> None:
    name, said = "rollback: latency.p95_ms > 50", "version 2: latency.p95_ms > 50"
    slow = [signal("latency.p95_ms", "80x40", version) for version in ("1", "2", "3")]
    asked = [series("penstock_requests_total", f"0+{each}x40", version=v, status="200") for v, each in (("1", 90), ("2", 10), ("3", 7))]
    slow += [series("penstock_hidden_failures_total", "0x40", version=version) for version in ("1", "2", "3")]
    weights = [series("penstock_traffic_weight", f"{w}x40", version=v) for v, w in (("1", "0"), ("2", "0.5"), ("3", "0.5"))]
    check([*slow, *asked, *weights], {"2m": {name: [fired(said, "80", severity="critical", version="2")]}})
    for fewer in (2, 10):  # one that fails nearly always, and is never seen to: all that it was asked was answered by another
        hidden = [
            series("penstock_hidden_failures_total", f"0+{fewer}x40", version="2"),
            series("penstock_failed_total", "0x40", version="2"),
        ]
        rows = [fired("version 2: error_rate > 1%", "1", severity="critical", version="2")] if fewer == 10 else []
        check([*hidden, asked[0], *weights], {"2m": {"rollback: error_rate > 1%": rows}})
    alone = [series("penstock_traffic_weight", "1x40", version="2")]
    check([*slow, *asked, *alone], {"2m": {name: []}})


@needs_promtool
def test_it_says_when_nobody_measures(check: Check) -> None:
    here = {"series": "penstock_snapshot_version", "values": "1x12 _x40"}
    written = {"series": "penstock_signals_written_timestamp_seconds", "values": "0x40"}
    cut = "No signals are measured: alerts on drift, accuracy, latency and cost are blind"
    blind = told(cut, "penstock status says what keeps the watcher", severity="critical")
    gone = told("No gateway is seen", "penstock status; penstock up", severity="critical")
    check([here, written], {"2m30s": {"PenstockNotMeasuring": [], "PenstockGone": []}, "4m": {"PenstockNotMeasuring": [blind]}})
    check([here], {"10m": {"PenstockGone": [gone]}})


def test_what_cannot_be_said_is_left_out_with_its_reason() -> None:
    made = rules_file(WISH)
    assert [(one.where, one.text) for one in made.left_out] == [
        ("alerts.4", "low(live.accuracy) > 0.5"),
        ("deploy.rollback_when.2", "worse_than(champion, error_rate, margin=1%)"),
    ]
    assert "the end of an interval" in made.left_out[0].why
    assert "who the champion is" in made.left_out[1].why
    text = made.as_yaml()
    assert text.count("# Not among them: ") == 2
    assert YAML(typ="safe").load(text) == made.document
    names = [rule["alert"] for group in made.document["groups"] for rule in group["rules"] if "alert" in rule]
    assert not any("worse_than" in name for name in names)


def test_a_rate_is_taken_over_a_window_or_four_scrapes() -> None:
    assert Wish("m", 60.0).scope == Scope("m", "1m")
    assert Wish("m", 5.0).scope == Scope("m", "1m")
    assert Wish("m", 1.0, scrape_s=0.5).scope == Scope("m", "2s")
    assert [duration(s) for s in (0, 0.5, 90, 120, 7200)] == ["0s", "500ms", "90s", "2m", "2h"]


def test_a_condition_without_a_signal_is_refused() -> None:
    with pytest.raises(Inexpressible, match="reads no signal"):
        alert(parse_watch("1 < 2 < requests"), Scope("m", "1m"))


NAMES = st.sampled_from(
    ["error_rate", "requests", "latency.p95_ms", "live.accuracy", "drift.words", "cost.day", "replicas.ready", "gone_rate"]
)
SIDES = st.recursive(
    NAMES | st.floats(-1e6, 1e6).map(lambda x: f"{abs(x):.4f}"),
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=4,
)
LEAVES = st.tuples(NAMES, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), SIDES).map(" ".join) | st.sampled_from(
    ["anomaly", "drift.input"]
)
WATCHES = st.lists(st.tuples(LEAVES, st.sampled_from(["and", "or"])), min_size=1, max_size=4).map(
    lambda parts: " ".join(f"{leaf} {word}" for leaf, word in parts).rsplit(" ", 1)[0]
)


@needs_promtool
@settings(max_examples=10)
@given(st.lists(WATCHES, min_size=40, max_size=40))
def test_every_condition_becomes_an_expression_that_prometheus_takes(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    made = rules_file(Wish("m", 60.0, [AlertRule(when=text) for text in texts]))
    assert not made.left_out
    file = tmp_path_factory.mktemp("rules") / "rules.yml"
    file.write_text(made.as_yaml())
    promtool("check", "rules", str(file))
