"""The emulator as servers: gRPC for Vertex AI, logging and monitoring; HTTP beside it for tokens, Cloud Storage and dedicated endpoints."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from penstock.testing.emulators.http import Asked, HttpServer, Reply
from penstock.testing.emulators.table import Emulated
from penstock.testing.emulators.vertex import jobs
from penstock.testing.emulators.vertex.invoking import invoke
from penstock.testing.emulators.vertex.project import ACCOUNT, IMAGE, PROJECT, REGION, Project
from penstock.testing.emulators.vertex.storage import Storage
from penstock.testing.emulators.vertex.wire import Handler


class VertexAI:
    """`with VertexAI(folder) as cloud`: set `cloud.environment`; then Google's clients, told `cloud.url`, speak to it.

    `here` is the project, which a test looks into and plans faults with.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.here, self.storage = Project(folder), Storage(folder / "buckets")
        self.here.read, self.here.write = self.storage.read, self.storage.write
        self._http = HttpServer(self.answer)
        self.here.dns, self.http_url = self._http.address, self._http.url
        self._grpc = grpc.server(ThreadPoolExecutor(16, "vertex-emulator"), options=[("grpc.so_reuseport", 0)])
        self._grpc.add_generic_rpc_handlers((Handler(self.here),))
        self.url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self.key = folder / "key.json"
        self.here.identities.new_key(ACCOUNT, f"{self.http_url}/token", self.key)
        self.environment = {"GOOGLE_APPLICATION_CREDENTIALS": str(self.key), "STORAGE_EMULATOR_HOST": self.http_url}
        self.here.environment.update(self.environment)

    def __enter__(self) -> VertexAI:
        self._http.start()
        self._grpc.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._grpc.stop(0.2).wait()
        self._http.close()
        self.here.processes.close()

    def bucket(self) -> str:
        """`gs://…` of a new bucket."""
        name = f"penstock-{secrets.token_hex(6)}"
        self.storage.create_bucket(name)
        return f"gs://{name}"

    def section(self, **more: Any) -> dict[str, Any]:
        """A platform's section of a pipeline file for this project."""
        return {"kind": "vertex", "project": PROJECT, "region": REGION, "image": IMAGE, "endpoint_url": self.url, **more}

    def clear(self) -> None:
        """Takes everything away, faults and limits too: the next test begins in an empty project."""
        with self.here.lock:
            self.here.processes.close()
            shutil.rmtree(self.here.processes.folder, ignore_errors=True)
            self.here.things.clear()
            self.here.quotas.clear()
            self.here.dry.clear()
            self.here.faults.clear()
            self.here.identities.denied.clear()
            self.here.identities.disabled = False
            self.here.start_s = 0.0

    def job(self, display_name: str) -> jobs.Job:
        found: jobs.Job = next(job for job in self.here.of(jobs.KIND).values() if job.row.display_name == display_name)
        return found

    def take_away(self, job: jobs.Job, *, warned: bool = True) -> None:
        """The machines of a custom job go, as spot capacity does."""
        with self.here.lock:
            for name in job.containers():
                self.here.processes.take_away(name, warned=warned)

    def answer(self, asked: Asked) -> Reply:
        if asked.target == "/token":
            status, told = self.here.identities.exchange(asked.body)
            return Reply(status, json.dumps(told).encode(), {"content-type": "application/json"})
        return invoke(self.here, asked) or self.storage.answer(asked) or Reply(404, b'{"error": {"code": 404, "message": "Not Found"}}')


@contextlib.contextmanager
def emulated(folder: Path, store: Path) -> Iterator[Emulated]:  # noqa: ARG001 (it has buckets)
    """For EMULATORS. Artifacts lie in a bucket."""
    with VertexAI(folder) as cloud:
        yield Emulated(cloud.section(), {**cloud.environment, "PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
