"""Versions in the Model Registry: states and aliases in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.left import left
from penstock.platforms.vertex.settings import settings_of
from penstock.testing.emulators.faults import Faults
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.mirror_suite import MirrorConformance, Side


class TestModelVersions(MirrorConformance):
    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: VertexAI) -> None:
        self.cloud, self.google = cloud, Google(settings_of(cloud.section(registry=True)))

    def place(self) -> tuple[str, dict[str, Any]]:
        return f"{self.cloud.bucket()}/store", self.cloud.section(registry=True)

    def rows(self) -> dict[int, Any]:
        (name,) = self.cloud.here.of("models")
        rows = self.google.rows("ModelService.ListModelVersions", {"name": name})
        return {int(row.labels["penstock_version"]): row for row in rows}

    def there(self) -> Mapping[int, Mapping[str, str]]:
        return {number: {"state": row.labels["penstock_state"], "told": row.version_description} for number, row in self.rows().items()}

    def decide_there(self, number: int, state: str) -> None:
        row = self.rows()[number]
        model = {"name": f"{row.name}@{row.version_id}", "labels": {**row.labels, "penstock_state": state}}
        self.google.call("ModelService.UpdateModel", {"model": model, "update_mask": {"paths": ["labels"]}})

    def point_there(self, alias: str, number: int) -> None:
        row = self.rows()[number]
        self.google.call("ModelService.MergeVersionAliases", {"name": f"{row.name}@{row.version_id}", "version_aliases": [alias]})

    def lose_an_answer(self) -> None:
        self.cloud.here.faults.plan("lose_answer", "UploadModel")

    def faults(self) -> Faults:
        return self.cloud.here.faults

    def deny_adding(self) -> str:
        self.cloud.here.identities.denied.add("UploadModel")
        return "Permission 'aiplatform.UploadModel' denied"

    def named(self, alias: str) -> int | None:
        return next((number for number, row in self.rows().items() if alias in row.version_aliases), None)

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
        assert self.named("default") == 2
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
        rows = {number: (dict(row.labels), list(row.version_aliases)) for number, row in self.rows().items()}
        ours.mirror()
        (versions,) = self.cloud.here.of("models").values()
        for row in versions.values():  # as before that pass
            row.labels, row.version_aliases = rows[int(row.labels["penstock_version"])]
        self.forget(ours)
        ours.mirror()
        assert ours.store.registry.aliases("intents")["champion"] == self.named("champion") == 2
        assert ours.states()[0] == self.there()[1]["state"] == "refused"
        ours.store.close()

    def forget(self, ours: Side) -> None:
        """Nothing was read back after the change: what was last agreed on is from before it."""
        (file,) = (ours.home.folder / "outside").glob("registry-*.json")
        file.write_text('{"states": {"1": "registered", "2": "passed"}, "aliases": {"champion": 1}}')

    def test_other_names_stay_here(self, tmp_path: Path) -> None:
        ours = self.opened(tmp_path)
        ours.mirror()
        for alias in ("default", "my_alias", "x", "7th"):
            ours.store.registry.set_alias("intents", alias, 1, "ada")
        assert ours.mirror() == 0
        assert not left(self.google, ours.store.artifacts.url)
        ours.store.close()
