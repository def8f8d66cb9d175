"""`penstock triggers`: set from a file, listed with their next time, fired by hand, removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from penstock.control.triggers import commands

if TYPE_CHECKING:
    from penstock.store.store import Store

FILE = "name: p\nsteps: [{name: count, uses: 'mine:count'}]\n"


@pytest.fixture
def pipeline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(commands, "ensure_up", lambda _: {})
    (folder / "mine.py").write_text("def count():\n    return 3\n")
    path = folder / "penstock.yaml"
    path.write_text(FILE + 'triggers: [{cron: "0 3 * * *", timezone: Europe/Berlin}]\n')
    return path


def test_set_list_fire_and_remove(call: Callable[..., Any], store: Store, pipeline: Path) -> None:
    assert call("triggers").out == "no triggers\n"
    assert call("triggers", "set").out == "p: 0 3 * * * Europe/Berlin → run\n"
    listed = call("triggers", "--json").json["triggers"]
    assert [(row["pipeline"], row["triggers"][0]["cron"]) for row in listed] == [("p", "0 3 * * *")]
    assert call("triggers").out.splitlines()[1].split()[:1] == ["p"]
    first = call("triggers", "fire", "--id", "commit-1", "--json").json
    assert first == call("triggers", "fire", "--id", "commit-1", "--json").json
    assert first["status"] == "pending"
    assert store.resources.get("run", first["run"]).spec["cause"]["id"] == "commit-1"
    assert call("triggers", "remove", "p").code == 0
    assert "has no triggers" in call("triggers", "remove", "p", "--json").error["message"]
    pipeline.write_text(FILE)
    assert "declares no triggers" in call("triggers", "set", "--json").error["message"]


def test_a_run_sets_the_triggers_of_its_file(
    call: Callable[..., Any], store: Store, pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from penstock.control import daemon

    started: list[int] = []
    monkeypatch.setattr(daemon, "ensure_up", lambda _: started.append(1))
    assert call("run").code == 0
    assert (store.resources.find("trigger", "p") is not None, started) == (True, [1])
    pipeline.write_text(FILE)
    assert call("run").code == 0
    found = store.resources.find("trigger", "p")
    assert found is not None
    assert found.spec["removed"]
