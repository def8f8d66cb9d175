"""The artifact suite on Azure Blob Storage, spoken by Azurite (Microsoft's emulator, an npm package); skipped where it is not installed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import ArtifactsUnavailable
from penstock.store.artifacts import Artifacts
from penstock.store.objects import Objects
from penstock.store.remote_objects import RemoteObjects
from penstock.testing.store.artifacts import ArtifactsConformance, fill

# The account that every Azurite has, as its documentation publishes it.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    command = os.environ.get("PENSTOCK_AZURITE") or shutil.which("azurite-blob")
    if not command:
        pytest.skip("no azurite-blob here: npm install azurite, or set PENSTOCK_AZURITE to the command")
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    place = tmp_path_factory.mktemp("azurite")
    line = [command, "--blobPort", str(port), "--inMemoryPersistence", "--silent", "--skipApiVersionCheck"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(line, cwd=place, stdout=log, stderr=log)
    try:
        _until_it_listens(port)
        account = f"AccountName={ACCOUNT};AccountKey={KEY}"
        yield f"DefaultEndpointsProtocol=http;{account};BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    finally:
        process.terminate()
        process.wait(10)


def _until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < deadline, "azurite-blob did not start within 60 s"
        time.sleep(0.1)


@pytest.fixture
def url(connection: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import fsspec

    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    container = f"penstock-{secrets.token_hex(6)}"
    fsspec.filesystem("abfs", anon=False).mkdir(container)
    return f"abfs://{container}/some/prefix"


class TestAzureBlobs(ArtifactsConformance):
    @pytest.fixture
    def artifacts(self, url: str, tmp_path: Path) -> Artifacts:
        return Artifacts(url, tmp_path / "cache")

    @pytest.fixture
    def objects(self, url: str, tmp_path: Path) -> Objects:
        return RemoteObjects(url, tmp_path / "objects")


@pytest.mark.usefixtures("url")
def test_a_container_that_is_not_there_is_told(tmp_path: Path) -> None:
    source = fill(tmp_path / "out", a="one")
    with pytest.raises(ArtifactsUnavailable, match="no such bucket or container"):
        Artifacts("abfs://no-such-container-here/x", tmp_path / "cache").commit(source, "model", {})
