"""Lambda's Runtime API for one execution environment, strict: what a runtime client may do when, and in which form.

Source: AWS Lambda developer guide, "Using the Lambda runtime API for custom runtimes" and its OpenAPI document (version 2018-06-01).
A runtime that answers twice, answers for another request, or asks for the next event while it owes an answer is refused and noted in
`faults`. Not covered: extensions, restore after a snapshot, streamed answers, several requests at once.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

ROOT = "/2018-06-01/runtime"
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:penstock"
MAX_PAYLOAD = 6 * 1024 * 1024 + 1024  # of a response, about


@dataclass(slots=True)
class Invocation:
    """`answer` is what the runtime posted, `error` what it said went wrong; None: nothing yet."""

    event: Any
    timeout_s: float
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    answer: bytes | None = None
    error: dict[str, Any] | None = None
    done: threading.Event = field(default_factory=threading.Event)

    def result(self, within_s: float = 30.0) -> Any:
        """The answer's JSON value. Raises AssertionError when there is none in time, or an error."""
        assert self.done.wait(within_s), "the runtime did not answer"
        assert self.error is None, self.error
        return json.loads(self.answer or b"null")


class RuntimeApi:
    """`with RuntimeApi() as api:` and start a runtime with AWS_LAMBDA_RUNTIME_API=api.address; then `api.invoke(event).result()`."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.init_error: dict[str, Any] | None = None
        self.ready = threading.Event()  # the runtime asked for its first event, or said why it cannot
        self._queue: queue.Queue[Invocation] = queue.Queue()
        self._current: Invocation | None = None
        self._ended = False
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        cast(Any, self._server).api = self

    def __enter__(self) -> RuntimeApi:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def invoke(self, event: Any, timeout_s: float = 30.0) -> Invocation:
        made = Invocation(event, timeout_s)
        self._queue.put(made)
        return made

    def next(self) -> Invocation | None:
        """Blocks until there is one; None when the environment ends."""
        self.ready.set()
        if self._current is not None:
            self.fault(f"asked for the next event while {self._current.id} has no answer")
        while not self._ended:
            try:
                self._current = self._queue.get(timeout=0.2)
                return self._current
            except queue.Empty:
                continue
        return None

    def settle(self, ident: str, body: bytes, error: str | None) -> tuple[int, dict[str, str]]:
        """A posted response, or error of that type. Status and body of what the runtime is told."""
        current = self._current
        if current is None or current.id != ident:
            self.fault(f"answered for {ident}, which does not wait")
            return 400, {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}
        if len(body) > MAX_PAYLOAD:
            self.fault(f"answered with {len(body)} bytes")
            current.error = {"errorType": "Function.ResponseSizeTooLarge", "errorMessage": f"{len(body)} bytes"}
        elif error is not None:
            current.error = self.told(body, error)
        else:
            current.answer = body
        self._current = None
        current.done.set()
        if len(body) > MAX_PAYLOAD:
            return 413, {"errorMessage": "Exceeded maximum allowed payload size", "errorType": "RequestEntityTooLarge"}
        return 202, {"status": "OK"}

    def told(self, body: bytes, kind: str) -> dict[str, Any]:
        """An error as the API wants it: errorMessage and errorType, stackTrace a list of strings."""
        value = json.loads(body or b"null")
        right = isinstance(value, dict) and isinstance(value.get("errorMessage"), str) and isinstance(value.get("errorType"), str)
        trace = value.get("stackTrace", []) if isinstance(value, dict) else None
        if not right or not isinstance(trace, list) or not all(isinstance(line, str) for line in trace):
            self.fault(f"an error of the wrong form: {value}")
        return {**(value if isinstance(value, dict) else {}), "header": kind}

    def fault(self, text: str) -> None:
        self.faults.append(text)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet where a runtime was killed while it waited."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def api(self) -> RuntimeApi:
        return cast(RuntimeApi, cast(Any, self.server).api)

    def do_GET(self) -> None:
        if self.path != f"{ROOT}/invocation/next":
            self.api.fault(f"GET {self.path}")
            return self._say(404, {"errorMessage": "no such route", "errorType": "NotFound"})
        found = self.api.next()
        if found is None:
            self.close_connection = True
            return None
        headers = {
            "Lambda-Runtime-Aws-Request-Id": found.id,
            "Lambda-Runtime-Deadline-Ms": str(round((time.time() + found.timeout_s) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": ARN,
            "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
        }
        return self._say(200, found.event, headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        kind = self.headers.get("Lambda-Runtime-Function-Error-Type") or ""
        parts = self.path.removeprefix(f"{ROOT}/").split("/")
        if self.path == f"{ROOT}/init/error":
            if self.api.ready.is_set():
                self.api.fault("an error of init after init")
            self.api.init_error = self.api.told(body, kind)
            self.api.ready.set()
            return self._say(202, {"status": "OK"})
        if len(parts) == 3 and parts[0] == "invocation" and parts[2] in ("response", "error"):
            return self._say(*self.api.settle(parts[1], body, kind if parts[2] == "error" else None))
        self.api.fault(f"POST {self.path}")
        return self._say(404, {"errorMessage": "no such route", "errorType": "NotFound"})

    def _say(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
