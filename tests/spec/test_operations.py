"""The sections about a deployment at work: conditions, receivers, strategies, reactions and triggers are refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import FileProblems
from penstock.spec.conditions import Comparison, Metric, Number
from penstock.spec.gates import GateSyntax
from penstock.spec.load import loads
from penstock.spec.pipeline import Pipeline, dump
from penstock.spec.signals import ALWAYS, known
from penstock.spec.watches import Alarm, Watch, Worse, parse_watch, signals_used

BASE = """
name: support
task: text-classification
data: {sources: [{dataset: banking77/train, text: text, label: category}]}
train: {base: minilm}
"""
LIVE = """
deploy: {strategy: {canary: [5%, 100%]}}
monitor: {capture: {sample: 100%}, drift: [{input: words}, {output: labels}], screens: [toxicity]}
"""


def load(*parts: str) -> Pipeline:
    return loads("\n".join((BASE, *parts)).encode(), file=Path("penstock.yaml"), environ={}).pipeline


def problems(*parts: str) -> list[tuple[str, str]]:
    with pytest.raises(FileProblems) as raised:
        load(*parts)
    return [(p.path, p.render()) for p in raised.value.problems]


def test_a_condition_is_read() -> None:
    assert parse_watch("error_rate > 5% for 1m") == Watch(
        "error_rate > 5% for 1m", ((Comparison(Metric("error_rate"), ">", Number(0.05)),),), 60.0
    )
    assert parse_watch("drift.input for 10m") == Watch("drift.input for 10m", ((Alarm("drift.input"),),), 600.0)
    assert parse_watch("worse_than(champion, latency, margin=20%)").any_of == ((Worse("latency", 0.2),),)
    both = parse_watch("latency.p95_ms > 0.5s and requests > 10 or drift")
    assert both.any_of[0][0] == Comparison(Metric("latency.p95_ms"), ">", Number(500.0))
    assert both.any_of[1] == (Alarm("drift"),)
    assert signals_used(both) == ("latency.p95_ms", "requests", "drift")
    assert parse_watch("cost.month > 500 USD").any_of == ((Comparison(Metric("cost.month"), ">", Number(500.0)),),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("error_rate >", "expected a number or a metric"),
        ("error_rate > 5 USD", "amount of money"),
        ("error_rate > 1% for", "expected a duration"),
        ("error_rate > 1% for 5 parsecs", "expected a duration"),
        ("error_rate > 1% fro 5m", "did you mean 'for'"),
        ("worse_than(challenger, latency)", "expected 'champion'"),
        ("worse_than(champion, host.cpu)", "cannot be compared request by request"),
        ("5 > 4", "names at least one metric"),
        ("", "expected a number or a metric"),
        ("a" * 1001, "at most 1000 characters"),
        ("(" * 100 + "error_rate", "deep"),
    ],
)
def test_a_broken_condition_says_where(text: str, says: str) -> None:
    with pytest.raises(GateSyntax, match=says.replace("(", r"\(")):
        parse_watch(text)


@given(st.text(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        watch = parse_watch(text)
    except GateSyntax as error:
        place = error.position
    else:
        place = 0 if list(watch.leaves) else -1
    assert 0 <= place <= len(text)


def test_a_whole_file_loads_and_goes_round() -> None:
    pipeline = load(
        LIVE,
        """
alerts: [{when: error_rate > 2% for 5m, severity: critical, send: [ops]}]
notify: {receivers: {ops: {slack: "${secret:SLACK}"}}, heartbeat: {url: "http://127.0.0.1:1/alive"}}
react:
  - {when: drift.input for 10m, do: retrain, with: {data: captured+feedback}, cooldown: 6h, budget: 20 USD}
  - {when: cost.month > 500 USD, do: [alert, scale_down]}
triggers: [{cron: "0 3 * * mon", timezone: Europe/Berlin, do: retrain}, {data: arrives}]
""",
    )
    assert pipeline.react[0].budget == 20.0
    assert pipeline.react[0].do == ("retrain",)
    assert pipeline.deploy is not None
    assert pipeline.deploy.strategy is not None
    assert pipeline.deploy.strategy.canary == (0.05, 1.0)
    assert pipeline.notify is not None
    assert pipeline.notify.receivers["ops"].slack is not None
    assert Pipeline.model_validate(dump(pipeline)) == pipeline


@pytest.mark.parametrize("kind", ["rolling", "blue_green", "canary"])
def test_a_strategy_may_stand_alone(kind: str) -> None:
    deploy = load(f"deploy: {{strategy: {kind}}}").deploy
    assert deploy is not None
    assert deploy.strategy is not None
    assert deploy.strategy.kind == kind


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("deploy: {rollback_when: [error_rate > 1%]}", "deploy", "needs a `strategy`"),
        ("deploy: {strategy: {canary: [25%, 5%]}}", "deploy.strategy", "each share is larger"),
        ("deploy: {strategy: {canary: [5%, 100%], rolling: {}}}", "deploy.strategy", "exactly one of"),
        ("deploy: {strategy: canary, traffic: {experiment: {}}}", "deploy", "choose one"),
        ("deploy: {strategy: canary, rollback_when: error_rate > 1% for 5m}", "deploy.rollback_when.0", "`for` has no meaning"),
        ("deploy: {strategy: canary, rollback_when: [host.cpu > 1%]}", "deploy.rollback_when.0", "no signal of single requests"),
        ("deploy: {strategy: canary, rollback_when: [error_rat > 1%]}", "deploy.rollback_when.0", "did you mean 'error_rate'"),
        ("alerts: [{when: error_rate > 1%}]", "alerts", "needs `deploy`"),
        (LIVE + "alerts: [{when: drift.embedding}]", "alerts.0.when", "add what it compares to monitor.drift"),
        (LIVE + "alerts: [{when: drift.wrods}]", "alerts.0.when", "did you mean 'drift.words'"),
        (LIVE + "alerts: [{when: injection_rate > 1%}]", "alerts.0.when", "add injection to monitor.screens"),
        (LIVE + "alerts: [{when: live.judge < 0.5}]", "alerts.0.when", "add a judge"),
        (LIVE + "alerts: [{when: error_rate > 1%, send: [ops]}]", "alerts.0.send.0", "no receiver is called"),
        (LIVE + "react: [{when: drift, do: rolback}]", "react.0.do.0", "did you mean 'rollback'"),
        (LIVE + "react: [{when: drift, do: rollback, with: {data: captured}}]", "react.0", "is not taken by rollback"),
        (LIVE + "react: [{when: drift, do: run}]", "react.0", "needs `with: {command"),
        (LIVE + "react: [{when: drift, do: shift}]", "react.0", "needs `with: {to"),
        ("deploy: {}\nreact: [{when: error_rate > 1%, do: retrain}]", "react.0.do", "needs `monitor.capture`"),
        (LIVE + 'react: [{when: "worse_than(champion, latency)", do: rollback}]', "react.0.when", "belongs to deploy.rollback_when"),
        ('triggers: [{cron: "0 3 * *"}]', "triggers.0.cron", "write five"),
        ("triggers: [{}]", "triggers.0", "exactly one of"),
        ("triggers: [{data: arrives, timezone: Mars/Olympus}]", "triggers.0", "no time zone"),
        ("monitor: {screens: [toxicity]}", "monitor.screens", "needs `monitor.capture`"),
        ("monitor: {slices: [channel]}", "monitor", "is named under `metadata` first"),
        ("monitor: {drift: [{input: words, output: labels}]}", "monitor.drift.0", "exactly one thing"),
        ("notify: {receivers: {ops: {}}}", "notify.receivers.ops", "exactly one of slack"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(text: str, key: str, says: str) -> None:
    found = problems(text)
    assert any(key == where and says in told for where, told in found), found


def test_every_signal_that_a_file_has_can_be_watched() -> None:
    whole: dict[str, Any] = {
        "task": "text-classification",
        "monitor": {
            "drift": [{"input": "words"}, {"output": "labels"}, {"feedback": "errors"}, {"metadata": "amount"}],
            "screens": [{"check": "toxicity", "groups": True}],
            "judge": {"deployment": "x"},
            "anomalies": [{"signals": ["error_rate"]}],
        },
    }
    names = known(whole)
    assert {"drift", "drift.input", "drift.metadata.amount", "toxicity.group_gap", "live.judge", "anomaly", *ALWAYS} <= set(names)
    for name in names:
        assert signals_used(parse_watch(f"{name} > 1 for 5m")) == (name,)
