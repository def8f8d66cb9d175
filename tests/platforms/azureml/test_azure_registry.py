"""Versions in the workspace's model registry: states and aliases in both directions, data assets, and what the emulator holds it to."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.core.errors import PlatformLacks
from penstock.core.home import Home
from penstock.platforms.azureml.arm import Arm
from penstock.platforms.azureml.datastore import Container, Datastore, container_of
from penstock.platforms.azureml.errors import Refusal
from penstock.platforms.azureml.platform import AZUREML
from penstock.platforms.azureml.registry import RegisteredModels
from penstock.platforms.mirrors import Card
from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.store.artifacts import Artifacts
from penstock.store.store import Store
from penstock.testing.emulators.azure import Azure
from penstock.testing.emulators.faults import Faults
from penstock.testing.mirror_suite import AliasesConformance
from penstock.testing.wrong_jobs_suite import QUICK

STORE = "abfss://artifacts@penstock.dfs.core.windows.net/store"
CARD = Card("intents", 1, f"sha256:{1:064x}", "run-1", "classification", "passed", {"accuracy": 0.9})


def opened(cloud: Azure, artifacts: Artifacts) -> RegisteredModels:
    return RegisteredModels(Arm(AzureMLPlatform.model_validate(cloud.section(registry=True)), QUICK), artifacts)


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """On this machine, and named as if they lay in Blob Storage."""
    home = Home.find(tmp_path, {})
    made = Artifacts(home.artifacts_url, home.cache)
    monkeypatch.setattr(made, "url", STORE)
    return made


class TestRegisteredModels(AliasesConformance):
    """`above`: of operations, as faults and rights name them; `shelf`: where the emulator keeps the models."""

    a_look = 1
    above, shelf = "", "models"

    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: Azure) -> None:
        self.cloud = cloud

    def place(self) -> tuple[str, dict[str, Any]]:
        return STORE, self.cloud.section(registry=True)

    def rows(self) -> dict[int, dict[str, Any]]:
        (model,) = self.cloud.workspace.of(self.shelf).values()
        return {int(number): row for number, row in model["versions"].items()}

    def there(self) -> Mapping[int, Mapping[str, str]]:
        return {n: {"state": row["properties"]["tags"]["penstock-state"], "told": str(row["properties"])} for n, row in self.rows().items()}

    def arm(self) -> Arm:
        return Arm(AzureMLPlatform.model_validate(self.cloud.section()))

    def edit(self, number: int, **tags: str) -> None:
        """As the studio does it."""
        row = copy.deepcopy(self.rows()[number]["properties"])
        del row["provisioningState"]
        (name,) = self.cloud.workspace.of(self.shelf)
        self.arm().call("PUT", f"models/{name}/versions/{number}", {"properties": {**row, "tags": {**row["tags"], **tags}}})

    def decide_there(self, number: int, state: str) -> None:
        self.edit(number, **{"penstock-state": state})

    def point_there(self, alias: str, number: int) -> None:
        self.edit(number, **{f"penstock-alias-{alias}": "yes"})

    def named(self, alias: str) -> int | None:
        held = [number for number, row in self.rows().items() if f"penstock-alias-{alias}" in row["properties"]["tags"]]
        assert len(held) <= 1, "the tag is on one version"
        return held[0] if held else None

    def snapshot(self) -> Any:
        return copy.deepcopy(self.rows())

    def restore(self, snapshot: Any) -> None:
        for number, row in self.rows().items():
            row["properties"], row["systemData"] = snapshot[number]["properties"], snapshot[number]["systemData"]

    def faults(self) -> Faults:
        return self.cloud.workspace.faults

    def lose_an_answer(self) -> None:
        self.faults().plan("lose_answer", f"PUT {self.above}models/versions")

    def deny_adding(self) -> str:
        action = f"Microsoft.MachineLearningServices/{self.above or 'workspaces/'}models/versions/write"
        self.cloud.workspace.identity.denied.add(action)
        return action

    def test_a_list_that_does_not_show_it_undoes_no_decision(self, tmp_path: Path) -> None:
        ours = self.opened(tmp_path)
        ours.mirror()
        ours.mirror()
        self.decide_there(2, "refused")
        self.faults().plan("unseen", f"GET {self.above}models/versions/list")
        ours.mirror()
        assert self.there()[2]["state"] == "refused"
        ours.mirror()
        assert ours.states()[1] == "refused"
        ours.store.close()

    def test_what_is_archived_there_or_deleted(self, tmp_path: Path) -> None:
        """Archived is no decision; what was deleted comes back as it is here."""
        ours = self.opened(tmp_path)
        ours.mirror()
        self.rows()[1]["properties"]["isArchived"] = True
        assert ours.mirror() == 0
        (model,) = self.cloud.workspace.of(self.shelf).values()
        del model["versions"]["2"]
        assert ours.mirror() == 1
        assert self.there()[2]["state"] == "passed"
        ours.store.close()


class TestSharedRegistry(TestRegisteredModels):
    """An organisation's: bytes are copied there, and every change is an operation."""

    above, shelf = "registries/", "shared/models"

    def place(self) -> tuple[str, dict[str, Any]]:
        self.cloud.workspace.of("registries")["shared"] = {}
        return "", self.cloud.section(registry={"name": "shared"})

    def bundle(self, store: Store, number: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "weights").mkdir()
            (Path(folder) / "weights" / "model one.bin").write_text(f"weights {number}")
            (Path(folder) / "empty").touch()
            return store.artifacts.commit(Path(folder), "bundle", {}).digest

    def arm(self) -> Arm:
        made = super().arm()
        return replace(made, root=f"{made.group}/providers/Microsoft.MachineLearningServices/registries/shared")

    def test_files_are_there(self, tmp_path: Path) -> None:
        """Whatever of the upload went wrong on the way."""
        before = self.faults().calls["GET operations"]
        for fault in ("throttle", "lose_answer", "lose_request"):
            self.faults().plan(fault, "PUT blob")
            self.faults().plan(fault, "POST registries/models/startPendingUpload")
        self.cloud.workspace.start_s = 1.0
        ours = self.opened(tmp_path)
        ours.mirror()
        assert ours.mirror() == 0
        assert self.faults().calls["GET operations"] > before, "what it began is waited for"
        for number, row in self.rows().items():
            uri, blobs = row["properties"]["modelUri"], self.cloud.workspace.of("registry-blobs")
            mine = {name.removeprefix(f"{uri}/"): data for name, data in blobs.items() if name.startswith(f"{uri}/")}
            assert mine == {"weights/model one.bin": f"weights {number}".encode(), "empty": b""}
        assert not self.cloud.workspace.of("datastores")
        ours.store.close()

    def test_a_bundle_that_is_gone_holds_up_no_other_model(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        ours = self.opened(tmp_path)
        run = ours.store.registry.get("intents", 1).run
        ours.store.registry.register("gone", "sha256:" + "7" * 64, run=run, task="t", metrics={}, gates=[], facts={})
        assert ours.mirror() == 2
        assert "model gone: no artifact" in caplog.text
        ours.store.close()


def test_more_versions_than_a_page(cloud: Azure, artifacts: Artifacts) -> None:
    there = opened(cloud, artifacts)
    for number in range(1, 13):
        there.add(Card("intents", number, f"sha256:{number:064x}", "run", "t", "registered", {}))
    assert set(there.look("intents").states) == set(range(1, 13))


def test_splits_are_data_assets_that_say_where_their_bytes_lie(cloud: Azure, artifacts: Artifacts, tmp_path: Path) -> None:
    (tmp_path / "dataset").mkdir()
    for name in ("train.parquet", "test.parquet", "card.md"):
        (tmp_path / "dataset" / name).write_text(name)
    manifest = artifacts.commit(tmp_path / "dataset", "dataset", {})
    there = opened(cloud, artifacts)
    for number in (1, 2):
        there.add(Card("intents", number, CARD.bundle, "run", "t", "passed", {}, dataset=manifest.digest))
    data = {name.rpartition("-")[2]: held["versions"] for name, held in cloud.workspace.of("data").items()}
    assert {split: list(versions) for split, versions in data.items()} == {split: [manifest.digest[7:23]] for split in ("train", "test")}
    for split, versions in data.items():
        (row,) = versions.values()
        digits = next(entry.digest for entry in manifest.files if entry.path == f"{split}.parquet").removeprefix("sha256:")
        assert row["properties"]["dataUri"].endswith(f"/paths/store/blobs/{digits[:2]}/{digits}")
    (model,) = cloud.workspace.of("models").values()
    assert [row["name"] for row in model["versions"]["2"]["properties"]["datasets"]] == ["train", "test"]
    gone = Card("intents", 3, CARD.bundle, "run", "t", "passed", {}, dataset="sha256:" + "8" * 64)
    there.add(gone)
    assert "datasets" not in model["versions"]["3"]["properties"]


def test_somebody_elses_version_of_that_number(cloud: Azure, artifacts: Artifacts) -> None:
    there = opened(cloud, artifacts)
    there.add(CARD)
    (name,) = cloud.workspace.of("models")
    uri = cloud.workspace.of("models")[name]["versions"]["1"]["properties"]["modelUri"]
    there.arm.call("PUT", f"models/{name}/versions/2", {"properties": {"modelUri": uri}})
    assert set(there.look("intents").states) == {1}
    with pytest.raises(Exception, match="not Penstock's"):
        there.add(Card("intents", 2, CARD.bundle, "run", "t", "passed", {}))


def test_rules_of_what_is_registered(cloud: Azure, artifacts: Artifacts) -> None:
    there = opened(cloud, artifacts)
    arm = there.arm

    def refused(below: str, **properties: Any) -> Refusal:
        seen: list[Refusal] = []
        assert arm.call("PUT", below, {"properties": properties}, lambda refusal: not seen.append(refusal)) is None  # type: ignore[func-returns-value]
        return seen[0]

    assert "not supported" in refused("models/m/versions/1", modelUri=STORE).message
    nowhere = Datastore(arm, "another", Container("a", "c", "", "core.windows.net"), _made=True)
    assert "was not found" in refused("models/m/versions/1", modelUri=nowhere.uri("x")).message
    there.add(CARD)
    (name,) = cloud.workspace.of("models")
    row = cloud.workspace.of("models")[name]["versions"]["1"]["properties"]
    assert "modelUri cannot be changed" in refused(f"models/{name}/versions/1", **{**said(row), "modelUri": row["modelUri"] + "x"}).message
    assert "properties cannot be changed" in refused(f"models/{name}/versions/1", **{**said(row), "properties": {}}).message
    assert "too long" in refused(f"models/{name}/versions/1", **{**said(row), "tags": {"a": "b" * 257}}).message


def said(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "provisioningState"}


def test_where_the_store_lies() -> None:
    assert container_of(STORE, {}) == Container("penstock", "artifacts", "store/")
    assert container_of("az://c", {"AZURE_STORAGE_ACCOUNT_NAME": "a"}) == Container("a", "c", "")
    assert container_of("abfs://c@a.dfs.core.chinacloudapi.cn/p/q/", {}) == Container("a", "c", "p/q/", "core.chinacloudapi.cn")
    for store, says in (("file:///tmp/x", "Blob Storage"), ("abfs://c/p", "does not say it")):
        with pytest.raises(PlatformLacks, match=says):
            container_of(store, {})


def test_a_run_whose_versions_could_not_go_there_is_refused_at_once(cloud: Azure, place: tuple[Home, Artifacts]) -> None:
    with pytest.raises(PlatformLacks, match="points at Blob Storage") as told:
        AZUREML.jobs(*place, cloud.section(registry=True))
    assert "take `registry` out" in told.value.way_out
