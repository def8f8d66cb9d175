"""The conformance suite of Mirror: `class TestMyMirror(MirrorConformance)`, versions and decisions on them in both directions;
`AliasesConformance` where versions can go by names, too.

What the service shows and what people do there goes by its own calls, not by the Mirror.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.control.mirroring import mirror
from penstock.control.outside import wanting
from penstock.core.home import Home
from penstock.store.store import Store
from penstock.testing.emulators.faults import Faults


@dataclass(frozen=True, slots=True)
class Side:
    """Ours: two versions of `intents`, made on a platform that mirrors, and one of a model that was made here. Close it."""

    store: Store
    home: Home

    def mirror(self) -> int:
        return mirror(self.store, self.home)

    def states(self) -> list[str]:
        return [self.store.registry.get("intents", number).state for number in (1, 2)]


class MirrorConformance:
    """Facts of a version, as the service shows them: `state` in our words, and `told`, all that was said of it as text.

    `a_look`: calls of a pass in which nothing changed.
    """

    a_look = 2

    def place(self) -> tuple[str, dict[str, Any]]:
        """(URL for artifacts, the platform's section with `registry: true`)."""
        raise NotImplementedError

    def there(self) -> Mapping[int, Mapping[str, str]]:
        """Facts by our number."""
        raise NotImplementedError

    def decide_there(self, number: int, state: str) -> None:
        raise NotImplementedError

    def lose_an_answer(self) -> None:
        """Of the next call that adds a version: done, and not heard."""
        raise NotImplementedError

    def faults(self) -> Faults:
        """Of the emulator."""
        raise NotImplementedError

    def deny_adding(self) -> str:
        """Takes the right away; what the error names."""
        raise NotImplementedError

    def bundle(self, store: Store, number: int) -> str:  # noqa: ARG002 (one that is copied must be there)
        """Digest of the bundle of our version `number`."""
        return f"sha256:{number:064x}"

    def opened(self, folder: Path) -> Side:
        artifacts, section = self.place()
        home = Home.find(folder, {"PENSTOCK_ARTIFACTS": artifacts})
        made = Store.open(home)
        run = made.resources.create("run", "intents", {"platform": {"name": "there", "config": section}})
        here = made.resources.create("run", "other", {"platform": {"name": "laptop", "config": {"kind": "local"}}})
        for number in (1, 2):
            made.registry.register(
                "intents", self.bundle(made, number), run=run.id, task="t", metrics={"accuracy": 0.9}, gates=[], facts={}
            )
        made.registry.register("other", "sha256:" + "9" * 64, run=here.id, task="t", metrics={}, gates=[], facts={})
        made.registry.set_state("intents", 2, "passed")
        return Side(made, home)

    def test_versions_come_once(self, tmp_path: Path) -> None:
        ours = self.opened(tmp_path)
        assert wanting(ours.store)
        self.lose_an_answer()
        assert ours.mirror() == 2
        assert ours.mirror() == 0
        found = self.there()
        assert {number: row["state"] for number, row in found.items()} == {1: "registered", 2: "passed"}
        assert ours.store.registry.get("intents", 2).bundle in found[2]["told"]
        assert "accuracy" in found[2]["told"]
        assert "0.9" in found[2]["told"]
        ours.store.close()

    def test_decisions_go_both_ways(self, tmp_path: Path) -> None:
        ours = self.opened(tmp_path)
        ours.mirror()
        ours.mirror()
        ours.store.registry.set_state("intents", 1, "refused")
        assert ours.mirror() == 1
        found = self.there()
        assert found[1]["state"] == "refused"
        assert "refused at Penstock" in found[1]["told"]
        self.decide_there(2, "refused")
        self.decide_there(1, "passed")
        assert ours.mirror() == 2
        assert ours.states() == ["passed", "refused"]
        assert [entry.action for entry in ours.store.audit.list()][-2:] == ["model.decide"] * 2
        assert ours.mirror() == 0
        ours.store.close()

    def test_a_quiet_pass_is_one_look(self, tmp_path: Path) -> None:
        ours = self.opened(tmp_path)
        ours.mirror()
        assert ours.mirror() == 0
        before = self.faults().calls.copy()
        assert ours.mirror() == 0
        assert (self.faults().calls - before).total() == self.a_look
        ours.store.close()

    def test_one_that_may_not_is_told(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        ours = self.opened(tmp_path)
        named = self.deny_adding()
        with caplog.at_level(logging.WARNING):
            assert ours.mirror() == 0
        assert named in caplog.text
        ours.store.close()


class AliasesConformance(MirrorConformance):
    def point_there(self, alias: str, number: int) -> None:
        """As somebody does there."""
        raise NotImplementedError

    def named(self, alias: str) -> int | None:
        """Our number of the version that goes by it there."""
        raise NotImplementedError

    def snapshot(self) -> Any:
        """Of what may change there of versions."""
        raise NotImplementedError

    def restore(self, snapshot: Any) -> None:
        raise NotImplementedError

    def crowned(self, folder: Path) -> Side:
        """Both sides agree that version 1 is the champion."""
        ours = self.opened(folder)
        ours.mirror()
        ours.store.registry.set_alias("intents", "champion", 1, "ada")
        assert ours.mirror() == 1
        assert self.named("champion") == 1
        assert ours.mirror() == 0
        return ours

    def test_aliases_go_there_and_come_back(self, tmp_path: Path) -> None:
        ours = self.crowned(tmp_path)
        registry = ours.store.registry
        registry.set_alias("intents", "champion", 2, "ada")
        registry.set_alias("intents", "challenger", 1, "ada")
        assert ours.mirror() == 2
        assert (self.named("champion"), self.named("challenger")) == (2, 1)
        self.point_there("champion", 1)
        self.point_there("golden", 2)
        assert ours.mirror() == 2
        assert registry.aliases("intents") == {"champion": 1, "challenger": 1, "golden": 2}
        entry = ours.store.audit.list()[-2]
        assert (entry.action, entry.subject, entry.detail["before"]) == ("model.promote", "intents:1", 2)
        registry.set_alias("intents", "challenger", None, "ada")
        assert ours.mirror() == 1
        assert self.named("challenger") is None
        assert ours.mirror() == 0
        ours.store.close()

    def test_a_refused_version_is_crowned_by_nobody(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        ours = self.crowned(tmp_path)
        ours.store.registry.set_state("intents", 2, "refused")
        self.point_there("champion", 2)
        assert ours.mirror() == 2
        assert "its gates refused" in caplog.text
        assert ours.store.registry.aliases("intents")["champion"] == self.named("champion") == 1
        ours.store.close()

    def test_an_answer_that_lags_undoes_nothing(self, tmp_path: Path) -> None:
        """A list that does not show our last change yet looks like somebody's change there."""
        ours = self.crowned(tmp_path)
        ours.store.registry.set_alias("intents", "champion", 2, "ada")
        ours.store.registry.set_state("intents", 1, "refused")
        before = self.snapshot()
        ours.mirror()
        self.restore(before)
        self.forget(ours)
        ours.mirror()
        assert ours.store.registry.aliases("intents")["champion"] == self.named("champion") == 2
        assert ours.states()[0] == self.there()[1]["state"] == "refused"
        ours.store.close()

    def forget(self, ours: Side) -> None:
        """Nothing was read back after the change: what was last agreed on is from before it."""
        (file,) = (ours.home.folder / "outside").glob("registry-*.json")
        file.write_text('{"states": {"1": "registered", "2": "passed"}, "aliases": {"champion": 1}}')
