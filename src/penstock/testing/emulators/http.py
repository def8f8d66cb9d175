"""The HTTP side of an emulated service: a thread a connection; what was asked as a record, the answer whole or in pieces."""

from __future__ import annotations

import contextlib
import http.client
import os
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """`target`: path and query, as they came; names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Reply:
    """`parts`, instead of a body, are sent as they come. `cut`: the connection is closed instead of all that."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Generator[bytes] | None = None
    cut: bool = False


def passed_on(connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Generator[bytes]:
    """What a container answers, piece by piece as it comes; then its connection is closed."""
    try:
        while piece := answer.read1(65536):
            yield piece
    finally:
        answer.close()
        connection.close()


class HttpServer:
    """`answer` is called by many threads at once."""

    def __init__(self, answer: Callable[[Asked], Reply]) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.answer = answer
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    answer: Callable[[Asked], Reply]
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.server.answer(Asked(self.command, self.path, headers, body))
        if reply.cut:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.parts is not None:
            self._stream(reply.parts)
            return
        if reply.status != 204:
            self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        if reply.status != 204:
            self.wfile.write(reply.body)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST

    def _stream(self, parts: Generator[bytes]) -> None:
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with contextlib.closing(parts):
            for piece in parts:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        if os.environ.get("PENSTOCK_EMULATOR_LOG"):
            super().log_message(format, *args)
