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
from penstock.testing.mirror_suite import AliasesConformance


class TestModelVersions(AliasesConformance):
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

    def snapshot(self) -> Any:
        return {number: (dict(row.labels), list(row.version_aliases)) for number, row in self.rows().items()}

    def restore(self, snapshot: Any) -> None:
        (versions,) = self.cloud.here.of("models").values()
        for row in versions.values():
            row.labels, row.version_aliases = snapshot[int(row.labels["penstock_version"])]

    def test_other_names_stay_here(self, tmp_path: Path) -> None:
        ours = self.opened(tmp_path)
        ours.mirror()
        for alias in ("default", "my_alias", "x", "7th"):
            ours.store.registry.set_alias("intents", alias, 1, "ada")
        assert ours.mirror() == 0
        assert not left(self.google, ours.store.artifacts.url)
        ours.store.close()
