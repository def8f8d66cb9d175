"""A deployment's timeline: every row that tells of it, in one order, each entry with its role; the page escapes what it shows."""

from __future__ import annotations

from typing import Any

from penstock.control.timeline.entries import entries, shares
from penstock.control.timeline.page import as_json, page
from penstock.testing.deployments import live, process, settle, want


def test_cause_action_evidence_decision_effect(served: Any) -> None:
    bench, endpoints = served()
    world = process(bench, endpoints)
    want(world, 1)
    settle(world, bench, live(1))
    deployment = world.store.resources.find("deployment", "m")
    store, clock = bench.store, bench.clock
    store.resources.create("alert", "m", {}, id="alert-1", phase="firing")
    store.resources.create("run", "m", {}, id="run-1", phase="succeeded")
    spec, step = {"deployment": "m"}, {"action": "retrain", "effect": {"run": "run-1"}}
    store.resources.create("reaction", "m", spec, id="reaction-1", phase="done", status={"steps": [step]})
    told = [
        ("alert", "alert-1", "alert.firing", "drift.words 0.9 over 0.4 <b>"),
        ("deployment", deployment.id, "reaction.caused", "retrain: drift.words"),
        ("run", "run-1", "run.created", "6 steps, in the background"),
        ("run", "run-1", "step.started", "train: begins"),
        ("run", "run-1", "gate.passed", "better_than(champion, new.accuracy)"),
        ("deployment", deployment.id, "rollout.stage", "5 % → 25 %: 400 requests"),
        ("deployment", deployment.id, "deployment.live", "m:2 serves all requests"),
    ]
    for kind, ident, type_, message in told:
        clock.sleep(1)
        store.events.add(kind, ident, type_, message, {"value": 0.9, "words": ["<script>alert(1)</script>"]})
    found = entries(world, "m")
    assert [one.role for one in found][-6:] == ["cause", "cause", "action", "evidence", "decision", "effect"]
    assert "train: begins" not in [one.message for one in found]
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert entries(world, "m", since=clock.now()) == found[-1:]
    html = page("m", found, shares(world, "m"), clock.now())
    assert "<script>" not in html
    assert "drift.words 0.9 over 0.4 &lt;b&gt;" in html
    assert "version 1: 100%" in html
    assert as_json("m", found, shares(world, "m"))["live"][0]["shares"] == {"1": 1.0}
