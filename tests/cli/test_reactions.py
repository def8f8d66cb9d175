"""`penstock reactions`: cause, action and effect are shown; a question is answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from penstock.control.reactions import commands

if TYPE_CHECKING:
    from penstock.store.store import Store


def reaction(store: Store, ident: str, phase: str) -> None:
    spec = {
        "deployment": "m",
        "rule": "back",
        "when": "error_rate > 5%",
        "actions": ["ask"],
        "cause": {"says": "error_rate 9 %"},
        "dry_run": False,
        "estimate_usd": 0.0,
    }
    step = {"action": "ask", "phase": "waiting", "says": "Go back?", "effect": {"from": 2}}
    store.resources.create("reaction", "m", spec, id=ident, phase=phase, status={"says": "Go back?", "steps": [step], "cost_usd": 0.5})
    store.events.add("reaction", ident, "reaction.caused", "error_rate 9 %", {})


def test_show_and_answer(call: Callable[..., Any], store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "ensure_up", lambda _: {})
    assert call("reactions").out == "no reactions\n"
    assert call("reactions", "show", "--json").error["message"] == "there was no reaction yet"
    reaction(store, "reaction-aa", "asking")
    reaction(store, "reaction-ab", "done")
    shown = call("reactions", "show", "aa").out
    assert "cause   error_rate 9 %" in shown
    assert "action  ask: waiting  Go back?" in shown
    assert "effect  from: 2" in shown
    assert "asking, 0.50 USD" in shown
    assert "2 reactions begin with 'a'" in call("reactions", "show", "a", "--json").error["message"]
    assert call("reactions", "--json").json["reactions"][0]["rule"] == "back"
    assert "is over (done)" in call("reactions", "answer", "ab", "--yes", "--json").error["message"]
    assert call("reactions", "answer", "aa", "--no", "--comment", "too soon").code == 0
    given = store.resources.get("reaction", "reaction-aa").spec["answer"]
    assert (given["yes"], given["comment"]) == (False, "too soon")
