"""Receivers of messages for tests: an HTTP server that keeps what it gets and answers as told, and a courier that does errands at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from penstock.control.alerts.courier import Courier, Outcome, tried


@dataclass(frozen=True, slots=True)
class Got:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Receiver:
    """`answer` gives status, body and headers for a request; `hang_s` before it."""

    url: str
    got: list[Got] = field(default_factory=list)
    answer: Callable[[Got], tuple[int, bytes, dict[str, str]]] = lambda _: (200, b"ok", {})
    hang_s: float = 0.0


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Listens on loopback until the block is left."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            got = Got(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            if found.hang_s:
                time.sleep(found.hang_s)
            found.got.append(got)
            status, said, headers = found.answer(got)
            self.send_response(status)
            for name, value in {"content-length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Receiver(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class AtOnce(Courier):
    """Errands are over when `start` returns; `done` counts them by name."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self._outcomes: dict[str, Outcome] = {}

    def start(self, name: str, errand: Callable[[], None], after: Callable[[], None] | None = None) -> bool:
        self._outcomes[name] = tried(errand)
        self.done.append(name)
        if after is not None:
            after()
        return True

    def busy(self, name: str) -> bool:  # noqa: ARG002  the base class names it
        return False

    def take(self, name: str) -> Outcome | None:
        return self._outcomes.pop(name, None)
