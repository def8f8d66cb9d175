"""The artifact store as a datastore of the workspace: how what is registered there says where its bytes lie.

The datastore keeps no credentials: whoever reads through it asks as themselves. It costs nothing and stays.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.core.errors import PlatformLacks
from penstock.platforms.azureml.arm import Arm, not_there
from penstock.platforms.azureml.naming import TAG, store_mark, tags

ACCOUNT = "AZURE_STORAGE_ACCOUNT_NAME"
_URL = re.compile(r"(?:abfss?|az)://(?P<container>[^@/]+)(?:@(?P<account>[^./]+)\.(?:dfs|blob)\.(?P<endpoint>[^/]+))?(?:/(?P<prefix>.*))?")


@dataclass(frozen=True, slots=True)
class Container:
    """Where the artifact store lies in Blob Storage. `prefix`: empty, or ends with `/`; `endpoint`: suffix of the cloud's addresses."""

    account: str
    name: str
    prefix: str
    endpoint: str = "core.windows.net"


def container_of(store: str, environment: Mapping[str, str]) -> Container:
    """Of an URL of fsspec. `environment`: variables of the section, which go before this process's own. Raises PlatformLacks."""
    found = _URL.fullmatch(store)
    if found is None:
        raise PlatformLacks(
            f"Azure's registry points at Blob Storage, and the artifacts lie at {store}",
            remedy="Point PENSTOCK_ARTIFACTS at abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX, or take `registry` out.",
        )
    account = found["account"] or {**os.environ, **environment}.get(ACCOUNT, "")
    if not account:
        raise PlatformLacks(
            f"Azure's registry needs the storage account, and {store} does not say it",
            remedy=f"Write abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PREFIX, or set {ACCOUNT}.",
        )
    prefix = (found["prefix"] or "").strip("/")
    return Container(account, found["container"], f"{prefix}/" if prefix else "", found["endpoint"] or "core.windows.net")


@dataclass(slots=True)
class Datastore:
    """`store`: URL of the artifact store."""

    arm: Arm
    store: str
    container: Container
    _made: bool = False

    @property
    def name(self) -> str:
        return f"penstock_{store_mark(self.store)}"

    def uri(self, name: str) -> str:
        """Of an object of the store, such as `blobs/ab/HEX`, as the workspace writes it; the datastore is there when this returns."""
        self._make()
        group = self.arm.workspace.removeprefix("/").replace("resourceGroups", "resourcegroups")
        below = group.replace("/providers/Microsoft.MachineLearningServices", "")
        return f"azureml://{below}/datastores/{self.name}/paths/{self.container.prefix}{name}"

    def _make(self) -> None:
        """One that is there is not written again: somebody may have said more about it."""
        if not self._made and self.arm.call("GET", f"datastores/{self.name}", known=not_there) is None:
            properties = {
                "datastoreType": "AzureBlob",
                "accountName": self.container.account,
                "containerName": self.container.name,
                "endpoint": self.container.endpoint,
                "protocol": "https",
                "credentials": {"credentialsType": "None"},
                "description": "Artifacts of a project of Penstock",
                "tags": tags(self.arm.settings.tags, {TAG: store_mark(self.store)}),
            }
            self.arm.call("PUT", f"datastores/{self.name}", {"properties": properties})
        self._made = True
