"""The emulator as a server: Resource Manager, run history, tokens, log files and the endpoints themselves on one port."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from penstock.testing.emulators.azure.jobs import KIND
from penstock.testing.emulators.azure.schemas import Schemas
from penstock.testing.emulators.azure.wire import answer
from penstock.testing.emulators.azure.workspace import GROUP, IMAGE, MOST_ENDPOINTS, NAME, REGION, SUBSCRIPTION, Workspace
from penstock.testing.emulators.http import HttpServer
from penstock.testing.emulators.table import Emulated


class Azure:
    """`with Azure(folder) as cloud`: under `cloud.environment` Azure's default chain of credentials finds a managed identity of it.

    `schemas`: folder with the published ARM schema. `workspace` is what a test looks into and plans faults with.
    """

    def __init__(self, folder: Path, schemas: Path | None = None) -> None:
        self.workspace = Workspace(folder, Schemas(schemas))
        self._http = HttpServer(lambda asked: answer(self.workspace, asked))
        self.url = self.workspace.url = self._http.url
        self.environment = {
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.workspace.identity.header,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }

    def __enter__(self) -> Azure:
        self._http.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()
        self.workspace.processes.close()

    def section(self, **more: Any) -> dict[str, Any]:
        """A platform's section of a pipeline file for this workspace. Its containers see the folders of this machine, the store's too."""
        where = {"subscription": SUBSCRIPTION, "resource_group": GROUP, "workspace": NAME, "region": REGION, "image": IMAGE}
        return {"kind": "azureml", **where, "endpoint_url": self.url, "environment": {"PENSTOCK_SHARED_STORE": "1"}, **more}

    def clear(self) -> None:
        """Takes everything away, faults and limits too: the next test begins in an empty workspace."""
        with self.workspace.lock:
            self.workspace.processes.close()
            shutil.rmtree(self.workspace.processes.folder, ignore_errors=True)
            for place in (self.workspace.things, self.workspace.quotas, self.workspace.clusters, self.workspace.operations):
                place.clear()
            self.workspace.dry.clear()
            self.workspace.images = {IMAGE}
            self.workspace.faults.clear()
            self.workspace.identity.denied.clear()
            self.workspace.start_s, self.workspace.most_endpoints = 0.0, MOST_ENDPOINTS

    def take_away(self, job: str, *, warned: bool = True) -> None:
        """The machines of a job go, as low-priority ones do."""
        with self.workspace.lock:
            for name in self.workspace.of(KIND)[job].containers():
                self.workspace.processes.take_away(name, warned=warned)


@contextlib.contextmanager
def emulated(folder: Path, store: Path) -> Iterator[Emulated]:  # noqa: ARG001 (containers see the folders of this machine)
    """For `penstock.testing.emulators.table`."""
    with Azure(folder, published()) as cloud:
        yield Emulated(cloud.section(), cloud.environment)


def published() -> Path | None:
    """Folder of the published ARM schema: `azure/` in the one that PENSTOCK_SPECS names; None where it names none."""
    told = os.environ.get("PENSTOCK_SPECS")
    return Path(told) / "azure" if told else None
