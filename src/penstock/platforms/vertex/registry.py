"""Versions in Vertex AI's Model Registry: a model a model, a version a version, aliases as they are. The service has no approvals: the
state of a version is its label `penstock_state`.

The model's name bears the project's mark, so two projects of a cloud project keep apart. Our number of a version is a label too: theirs
counts uploads.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import BadInput, PlatformAway
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.mirrors import PASSED, REFUSED, Card, Shown
from penstock.platforms.remote.retrying import patiently
from penstock.platforms.remote.told import telling
from penstock.platforms.vertex.errors import may_pass
from penstock.platforms.vertex.google import Google, not_there
from penstock.platforms.vertex.hosting import container_spec
from penstock.platforms.vertex.naming import endpoint_name
from penstock.platforms.vertex.settings import labels, store_mark

NUMBER, STATE, MARK = "penstock_version", "penstock_state", "penstock_registry"
UNDECIDED = "registered"
WAIT_S, LOOK_S = 60.0, 0.5
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_THEIRS = ("default", "latest")  # the one that the service moves by itself, and a word that here is no alias


@dataclass(slots=True)
class ModelVersions:
    """The Mirror."""

    google: Google
    store: str
    _seen: dict[str, Mapping[int, Any]] = field(default_factory=dict)  # by model: rows of the last look

    def look(self, model: str) -> Shown:
        self._seen.pop(model, None)
        rows = self._known(model)
        states = {number: _state(row.labels.get(STATE, "")) for number, row in rows.items()}
        return Shown(states, {alias: number for number, row in rows.items() for alias in row.version_aliases if alias not in _THEIRS})

    def add(self, card: Card) -> None:
        """There when this returns. Raises PlatformAway when Vertex AI is not done after WAIT_S."""
        self._seen.pop(card.model, None)
        self.google.told("ModelService.UploadModel", lambda: patiently(lambda: self._upload(card), may_pass, self.google.patience))

    def decide(self, model: str, version: int, state: str, why: str) -> None:
        row = self._known(model)[version]
        told = f"{row.version_description.partition(chr(10))[0]}\n{why}"
        changed = {"name": _numbered(row), "labels": {**row.labels, STATE: _state(state)}, "version_description": told}
        self.google.call("ModelService.UpdateModel", {"model": changed, "update_mask": {"paths": ["labels", "version_description"]}})

    def takes(self, alias: str) -> bool:
        return _ALIAS.fullmatch(alias) is not None and alias not in _THEIRS

    def point(self, model: str, alias: str, version: int | None) -> None:
        """One that another version has moves from there by itself."""
        rows = self._known(model)
        number = next((n for n, row in rows.items() if alias in row.version_aliases), None) if version is None else version
        if number is not None:
            named = alias if version is not None else f"-{alias}"
            self.google.call("ModelService.MergeVersionAliases", {"name": _numbered(rows[number]), "version_aliases": [named]})

    def _upload(self, card: Card) -> None:
        """The service has no token to make a call idempotent: before each we look whether it came."""
        if card.version in self._rows(card.model):
            return
        name = self._name(card.model)
        known = self.google.call("ModelService.GetModel", {"name": name}, not_there)
        place = {"model_id": name.rpartition("/")[2]} if known is None else {"parent_model": name}
        request = {"parent": self.google.settings.parent, "model": self._model(card), **place}
        operation = self.google.once("ModelService.UploadModel", request).operation.name
        deadline = time.monotonic() + WAIT_S
        while not (found := self.google.call("ModelService.GetOperation", {"name": operation})).done:
            if time.monotonic() > deadline:
                raise PlatformAway(f"version {card.version} of {card.model} is still being uploaded by {operation}")
            time.sleep(LOOK_S)
        if found.HasField("error"):
            raise BadInput(f"ModelService.UploadModel {card.model}:{card.version}: {found.error.message}")

    def _model(self, card: Card) -> dict[str, Any]:
        settings = self.google.settings
        told = telling(EndpointSpec(card.model, ()), VersionSpec(str(card.version), card.bundle, 1), self.store)
        metrics = ", ".join(f"{name} {value:.6g}" for name, value in sorted(card.metrics.items())[:40])
        ours = {NUMBER: str(card.version), STATE: _state(card.state), MARK: "yes", "penstock_store": store_mark(self.store)}
        return {
            "display_name": card.model[:128],
            "version_description": f"{card.task}, bundle {card.bundle}, run {card.run}; {metrics}"[:4096],
            "labels": labels(settings.labels, ours),
            "container_spec": container_spec(settings, {**settings.environment, **told}),
        }

    def _known(self, model: str) -> Mapping[int, Any]:
        if model not in self._seen:
            self._seen[model] = self._rows(model)
        return self._seen[model]

    def _rows(self, model: str) -> dict[int, Any]:
        """By our number; of twins, which a lost answer could leave, the first one."""
        name = self._name(model)
        if self.google.call("ModelService.GetModel", {"name": name}, not_there) is None:
            return {}
        rows = sorted(
            self.google.rows("ModelService.ListModelVersions", {"name": name, "page_size": 100}), key=lambda row: int(row.version_id)
        )
        return {int(row.labels[NUMBER]): row for row in reversed(rows) if row.labels.get(NUMBER, "").isdigit()}

    def _name(self, model: str) -> str:
        return f"{self.google.settings.parent}/models/{endpoint_name(model, self.store)}"


def _state(text: str) -> str:
    return text if text in (PASSED, REFUSED) else UNDECIDED


def _numbered(row: Any) -> str:
    return f"{row.name.partition('@')[0]}@{row.version_id}"
