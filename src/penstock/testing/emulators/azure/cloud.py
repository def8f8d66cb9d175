"""The emulator as a server: Resource Manager, run history, tokens, log files and the endpoints themselves on one port."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from penstock.testing.emulators.azure.jobs import KIND
from penstock.testing.emulators.azure.schemas import Schemas
from penstock.testing.emulators.azure.wire import Reply, answer, asked_of
from penstock.testing.emulators.azure.workspace import GROUP, IMAGE, NAME, REGION, SUBSCRIPTION, Workspace
from penstock.testing.emulators.table import Emulated


class Azure:
    """`with Azure(folder) as cloud`: under `cloud.environment` Azure's default chain of credentials finds a managed identity of it.

    `schemas`: folder with the published ARM schema. `workspace` is what a test looks into and plans faults with.
    """

    def __init__(self, folder: Path, schemas: Path | None = None) -> None:
        self.workspace = Workspace(folder, Schemas(schemas))
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.workspace = self.workspace
        self.url = self.workspace.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.environment = {
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.workspace.identity.header,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Azure:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
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
            self.workspace.faults.planned.clear()
            self.workspace.faults.met = 0
            self.workspace.identity.denied.clear()
            self.workspace.start_s = 0.0

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


class _Server(ThreadingHTTPServer):
    workspace: Workspace
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = answer(self.server.workspace, asked_of(self.command, self.path, headers, body))
        if reply.cut:
            self.close_connection = True
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._send(reply)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _send(self, reply: Reply) -> None:
        parts = reply.answer.parts if reply.answer is not None else None
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if parts is None:
            if reply.status != 204:
                self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            if reply.status != 204:
                self.wfile.write(reply.body)
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with contextlib.closing(parts):
            for piece in parts:
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""
