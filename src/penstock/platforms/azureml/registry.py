"""Versions in the workspace's model registry: a model a model, a version a version of the same number, its path the bundle's manifest in
the artifact store; or in an organisation's registry, its path a copy of the bundle. The service has no approvals and no aliases: both are
tags, which alone (with the description) may change there.

The model's name bears the project's mark, so two projects of a workspace keep apart. In the workspace the dataset's splits become data
assets, each file by itself: the store keeps files by content, not in folders. Data are not copied into an organisation's registry.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from penstock.core.digests import hex_of
from penstock.core.errors import ArtifactMissing, BadInput, PlatformAway
from penstock.platforms.azureml.arm import Arm, not_there
from penstock.platforms.azureml.copies import Copies
from penstock.platforms.azureml.datastore import Datastore, container_of
from penstock.platforms.azureml.naming import TAG, endpoint_name, store_mark, tags
from penstock.platforms.mirrors import PASSED, REFUSED, Card, Shown
from penstock.spec.platforms.azureml import AzureMLPlatform, SharedRegistry
from penstock.store.objects import blob_name, manifest_name

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

STATE, WHY, ALIAS, BUNDLE = "penstock-state", "penstock-why", "penstock-alias-", "penstock-bundle"
OURS = "set by Penstock"  # value of a tag of an alias
UNDECIDED = "registered"
WAIT_S, LOOK_S = 60.0, 0.5
SPLITS = ("train", "validation", "test")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Of what the service shows, what a request may say.
_SAID = (
    "datasets",
    "description",
    "flavors",
    "isAnonymous",
    "isArchived",
    "jobName",
    "modelType",
    "modelUri",
    "properties",
    "stage",
    "tags",
)
Edit = Callable[[dict[str, str]], Mapping[str, str]]


@dataclass(slots=True)
class RegisteredModels:
    """The Mirror. Raises PlatformLacks where the workspace's registry is meant and the artifacts do not lie in Blob Storage."""

    arm: Arm
    artifacts: Artifacts
    _place: Arm = field(init=False)  # asks below the workspace, or below the organisation's registry
    _bytes: Datastore | Copies = field(init=False)
    _bearers: dict[str, dict[str, set[int]]] = field(default_factory=dict)  # by model and alias: versions with that tag, as last seen

    def __post_init__(self) -> None:
        settings, store = self.arm.settings, self.artifacts.url
        if isinstance(settings.registry, SharedRegistry):
            self._place = replace(self.arm, root=_root(settings, settings.registry))
            self._bytes = Copies(self._place, self.artifacts)
        else:
            self._place = self.arm
            self._bytes = Datastore(self.arm, store, container_of(store, settings.environment))

    def look(self, model: str) -> Shown:
        states: dict[int, str] = {}
        borne: dict[str, list[tuple[bool, str, int]]] = {}  # by alias: whether people set it, when that version was changed, which
        for row in self._place.pages(f"models/{self._name(model)}/versions", not_there, listViewType="All"):
            properties, number = row["properties"], int(row["name"]) if row["name"].isdigit() else 0
            if number and BUNDLE in (properties.get("properties") or {}):
                said, changed = properties.get("tags") or {}, str((row.get("systemData") or {}).get("lastModifiedAt") or "")
                states[number] = _state(said.get(STATE, ""))
                for tag in (tag for tag in said if tag.startswith(ALIAS)):
                    borne.setdefault(tag.removeprefix(ALIAS), []).append((said[tag] != OURS, changed, number))
        self._bearers[model] = {alias: {number for *_, number in rows} for alias, rows in borne.items()}
        # People add a tag to one version and leave it on the other: what they set is meant, of that what was changed last.
        meant = {alias: max(rows)[2] for alias, rows in borne.items()}
        return Shown(states, meant, {alias for alias, rows in borne.items() if len(rows) > 1})

    def add(self, card: Card) -> None:
        """One that is there already is left as it is: a list that lags does not show it, and somebody may have decided on it.

        Raises BadInput where somebody else has a version of that number there, ArtifactMissing where the bundle to copy is gone.
        """
        below = f"models/{self._name(card.model)}"
        there = self._place.call("GET", f"{below}/versions/{card.version}", known=not_there)
        if there is not None:
            if BUNDLE not in (there.body["properties"].get("properties") or {}):
                raise BadInput(
                    f"{self._name(card.model)}:{card.version} of the registry is not Penstock's",
                    remedy="Register yours under another name, and delete that version.",
                )
            return
        if self._place.call("GET", below, known=not_there) is None:
            self._put(below, {"description": f"{card.model} of Penstock", "tags": self._tags()})
        properties = self._properties(card, f"{below}/versions/{card.version}")
        if properties is not None:
            self._put(f"{below}/versions/{card.version}", properties)

    def decide(self, model: str, version: int, state: str, why: str) -> None:
        self._change(model, version, lambda said: {**said, STATE: _state(state), WHY: why[:256]})

    def takes(self, alias: str) -> bool:
        """`latest` is a label of the service's own."""
        return _ALIAS.fullmatch(alias) is not None and alias != "latest"

    def point(self, model: str, alias: str, version: int | None) -> None:
        """The new one first, so there is always one."""
        tag = f"{ALIAS}{alias}"
        if version is not None:
            self._change(model, version, lambda said: {**said, tag: OURS})
        for number in self._bearers.get(model, {}).get(alias, set()) - {version}:
            self._change(model, number, lambda said: {name: value for name, value in said.items() if name != tag})

    def _change(self, model: str, version: int, edit: Edit) -> None:
        """Read just before it is written: a list may lag, and other tags are other people's."""
        below = f"models/{self._name(model)}/versions/{version}"
        found = self._place.call("GET", below)
        assert found is not None
        said = {name: value for name, value in found.body["properties"].items() if name in _SAID and value is not None}
        self._put(below, {**said, "tags": dict(edit(dict(said.get("tags") or {})))})

    def _put(self, below: str, properties: Mapping[str, Any]) -> None:
        """Done when this returns: in an organisation's registry a change is an operation. Raises PlatformAway after WAIT_S, BadInput."""
        answer = self._place.call("PUT", below, {"properties": dict(properties)})
        deadline = time.monotonic() + WAIT_S
        while answer is not None and answer.operation:
            told = self._place.operation(answer.operation) or {"status": "Succeeded"}
            if told["status"] == "Succeeded":
                return
            if told["status"] in ("Failed", "Canceled"):
                error = told.get("error") or {}
                raise BadInput(f"PUT {below}: {error.get('message', 'Azure gave no reason')} ({error.get('code', told['status'])})")
            if time.monotonic() > deadline:
                raise PlatformAway(f"{below} is still being written by {answer.operation}")
            time.sleep(LOOK_S)

    def _properties(self, card: Card, below: str) -> dict[str, Any] | None:
        """Of the version that will be `below`; None: it came meanwhile."""
        facts = {BUNDLE: card.bundle, "penstock-run": card.run, "penstock-task": card.task, "penstock-store": self.artifacts.url}
        facts |= {f"metric.{name}"[:512]: f"{value:.6g}" for name, value in sorted(card.metrics.items())[:40]}
        if isinstance(self._bytes, Copies):
            what, uri = "a copy", self._bytes.uri(below, card.bundle)
        else:
            what, uri = "its path is the manifest", self._bytes.uri(manifest_name(card.bundle))
        if uri is None:
            return None
        found: dict[str, Any] = {
            "description": f"{card.model}:{card.version} of Penstock; {what} of bundle {card.bundle}",
            "modelType": "custom_model",
            "modelUri": uri,
            "properties": facts,
            "tags": {**self._tags(), STATE: _state(card.state)},
        }
        datasets = self._data(card, self._bytes) if card.dataset and isinstance(self._bytes, Datastore) else []
        return {**found, "datasets": datasets} if datasets else found

    def _data(self, card: Card, datastore: Datastore) -> list[dict[str, str]]:
        """A data asset for each split that has a file, made where it is not there; a version by the dataset's digest, so it never changes.

        None for a dataset that was collected.
        """
        try:
            files = {entry.path: entry for entry in self.artifacts.manifest(card.dataset).files}
        except ArtifactMissing:
            return []
        found = []
        for split in (split for split in SPLITS if f"{split}.parquet" in files):
            below = f"data/{self._name(card.model)}-{split}/versions/{hex_of(card.dataset)[:16]}"
            if self.arm.call("GET", below, known=not_there) is None:
                properties = {
                    "dataType": "uri_file",
                    "dataUri": datastore.uri(blob_name(files[f"{split}.parquet"].digest)),
                    "description": f"{split} (Parquet) of the dataset of {card.model}",
                    "properties": {"penstock-dataset": card.dataset, "penstock-file": f"{split}.parquet"},
                    "tags": self._tags(),
                }
                self.arm.call("PUT", below, {"properties": properties})
            found.append({"name": split, "id": f"{self.arm.workspace}/{below}"})
        return found

    def _tags(self) -> dict[str, str]:
        return tags(self.arm.settings.tags, {TAG: store_mark(self.artifacts.url)})

    def _name(self, model: str) -> str:
        return endpoint_name(model, self.artifacts.url)


def _state(text: str) -> str:
    return text if text in (PASSED, REFUSED) else UNDECIDED


def _root(settings: AzureMLPlatform, registry: SharedRegistry) -> str:
    """Resource id."""
    group = registry.resource_group or settings.resource_group
    base = f"/subscriptions/{registry.subscription or settings.subscription}/resourceGroups/{group}"
    return f"{base}/providers/Microsoft.MachineLearningServices/registries/{registry.name}"
