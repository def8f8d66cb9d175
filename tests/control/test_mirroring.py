"""Which versions a cloud's registry is asked about, and what that costs the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.control.mirroring import mirror
from penstock.core.home import Home
from penstock.store.resources import Resource, Resources
from penstock.store.store import Store


def test_a_run_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.find(tmp_path, {})
    store = Store.open(home)
    run = store.resources.create("run", "intents", {"platform": {"name": "here", "config": {"kind": "local"}}})
    for number in range(3):
        store.registry.register("intents", f"sha256:{number:064x}", run=run.id, task="t", metrics={}, gates=[], facts={})
    read: list[str] = []
    get = Resources.get

    def counted(self: Resources, kind: str, id: str) -> Resource:
        read.append(id)
        return get(self, kind, id)

    monkeypatch.setattr(Resources, "get", counted)
    sections: dict[str, dict[str, Any]] = {}
    assert mirror(store, home, sections) == mirror(store, home, sections) == 0
    assert read == [run.id]
    store.close()
