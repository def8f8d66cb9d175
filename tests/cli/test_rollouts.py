"""`penstock rollouts`: what is shown of a rollout, and what people may ask of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from penstock.control.rollouts import commands
from penstock.testing.deployments import DIGESTS

if TYPE_CHECKING:
    from penstock.store.store import Store


@pytest.fixture
def rolling(store: Store, monkeypatch: pytest.MonkeyPatch) -> str:
    """A deployment whose version 2 is at the second step of a canary; nothing runs in the background."""
    monkeypatch.setattr(commands, "ensure_up", lambda _: {})
    for n in (1, 2):
        store.registry.register("m", DIGESTS[n], run=f"r{n}", task="text-classification", metrics={}, gates=[], facts={})
    store.registry.set_alias("m", "challenger", 2, "test")
    spec = {
        "model": "m",
        "versions": [{"version": 1, "bundle": DIGESTS[1], "weight": 1.0}],
        "replicas": 1,
        "deploy": {"strategy": {"canary": [0.05, 0.25]}},
    }
    store.resources.create("deployment", "m", spec, phase="live")
    return "m"


def working(store: Store, ident: str, **state: Any) -> None:
    status = {
        "old": {"version": 1, "bundle": DIGESTS[1]},
        "replicas": 1,
        "reason": "200 requests in 60 s, no condition broken",
        "state": {"phase": "running", "stage": 1, **state},
        "evidence": {"requests": 41},
        "findings": [{"condition": "error_rate > 1%", "verdict": "open", "says": "error_rate 0 % of 41 requests, limit 1 %"}],
    }
    assert store.resources.take("rollout", ident, "test", 1.0)
    store.resources.save("rollout", ident, "test", status=status, phase="running", due_at=None)
    store.resources.release("rollout", ident, "test")


def test_begin_look_pause_and_call_off(call: Callable[..., Any], store: Store, rolling: str) -> None:
    begun = call("rollouts", "start", rolling, "2", "--json")
    assert begun.code == 0, begun.err
    ident = begun.json["id"]
    assert (begun.json["phase"], begun.json["stages"]) == ("pending", ["5 %", "25 %", "all"])
    working(store, ident)
    shown = call("rollouts", "show", rolling)
    assert "m:1 → 2 running" in shown.out
    assert "5 % → [25 %] → all, 41 requests in this step" in shown.out
    assert "· error_rate > 1%: error_rate 0 % of 41 requests, limit 1 %" in shown.out
    assert call("rollouts").out.splitlines()[1].split()[:4] == ["m", "m:1", "→", "2"]
    for order, written in (("pause", "pause"), ("resume", ""), ("promote", "promote"), ("abort", "abort")):
        assert call("rollouts", order, rolling, "--json").json["order"] == written
    assert [e.action for e in store.audit.all()][-4:] == ["rollout.pause", "rollout.resume", "rollout.promote", "rollout.abort"]


def test_what_cannot_be_asked(call: Callable[..., Any], store: Store, rolling: str) -> None:
    assert "never had a rollout" in call("rollouts", "show", rolling, "--json").error["message"]
    assert "no rollout of 'm' is under way" in call("rollouts", "pause", rolling, "--json").error["message"]
    assert "no deployment is called 'n'" in call("rollouts", "pause", "n", "--json").error["message"]
    assert "no strategy is called" in call("rollouts", "start", rolling, "2", "--strategy", "big_bang", "--json").error["message"]
    store.registry.set_state("m", 2, "refused")
    refused = call("rollouts", "start", rolling, "2", "--json")
    assert (refused.code, "refused by its gates" in refused.error["message"]) == (3, True)
    store.registry.set_state("m", 2, "passed")
    ident = call("rollouts", "start", rolling, "challenger", "--strategy", "canary", "--json").json["id"]
    working(store, ident)
    assert store.resources.take("rollout", ident, "test", 1.0)
    store.resources.save("rollout", ident, "test", status=store.resources.get("rollout", ident).status, phase="watching", due_at=None)
    assert "can only be rolled back" in call("rollouts", "promote", rolling, "--json").error["message"]
