"""The API server over HTTP: who asks, which path, which verb, planned faults, and watches as streams."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson

from penstock.testing.emulators.kubernetes.kinds import Kind
from penstock.testing.emulators.kubernetes.objects import Object
from penstock.testing.emulators.kubernetes.refusals import Refusal, gone, malformed, no_such_path
from penstock.testing.emulators.kubernetes.verbs import Verbs, selected

BOOKMARK_S = 1.0
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. `name` "" is the collection."""

    kind: Kind
    namespace: str | None
    name: str
    subresource: str


class Api:
    """`token`: what callers must show. `seen`: every call as (method, path), for tests. `special`: answers of subresources."""

    def __init__(self, verbs: Verbs, kinds: list[Kind], token: str) -> None:
        self.verbs, self.kinds, self.token = verbs, kinds, token
        self.seen: list[tuple[str, str]] = []
        self.special: dict[str, Any] = {}
        self.closing = threading.Event()
        self.cuts = 0  # each new number ends the watches that run

    def target(self, path: str) -> Target:
        """Raises Refusal (404) for a path that names nothing known."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:1] == ["api"]:
            group, parts = "", parts[1:]
        elif parts[:1] == ["apis"] and len(parts) > 2:
            group, parts = parts[1], parts[2:]
        else:
            raise no_such_path()
        version, parts = parts[0], parts[1:]
        namespace: str | None = None
        if len(parts) >= 3 and parts[0] == "namespaces":
            namespace, parts = parts[1], parts[2:]
        plural, name, sub = [*parts, "", "", ""][:3]
        kind = next((k for k in self.kinds if (k.group, k.version, k.plural) == (group, version, plural)), None)
        if kind is None or (sub and sub not in kind.subresources) or (name and kind.namespaced and namespace is None):
            raise no_such_path()
        return Target(kind, namespace, name, sub)

    def discover(self, path: str) -> Object | None:
        """`/version`, `/apis` and the kinds of one group and version."""
        parts = path.strip("/").split("/")
        if parts == ["version"]:
            return {"major": "1", "minor": "37", "gitVersion": "v1.37.0-penstock-emulator"}
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            names = sorted({(k.group, k.version) for k in self.kinds if k.group})
            groups = [{"name": g, "versions": [{"groupVersion": f"{g}/{v}", "version": v}]} for g, v in names]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if (parts[0] == "apis" and len(parts) == 3) or parts == ["api", "v1"]:
            group, version = (parts[1], parts[2]) if parts[0] == "apis" else ("", "v1")
            found = [k for k in self.kinds if (k.group, k.version) == (group, version)]
            if not found:
                raise no_such_path()
            verbs = list(VERBS.values())
            rows = [{"name": k.plural, "singularName": "", "namespaced": k.namespaced, "kind": k.name, "verbs": verbs} for k in found]
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": found[0].api_version, "resources": rows}
        return None

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, media: str) -> tuple[int, Object | str]:
        found = self.discover(path) if method == "GET" else None
        if found is not None:
            return 200, found
        at = self.target(path)
        self._allowed(method, at, query)
        space = at.namespace or ""
        if at.subresource in self.special:
            return self.special[at.subresource](method, at, query, body)  # type: ignore[no-any-return]
        status = at.subresource == "status"
        if method == "GET":
            return 200, self.verbs.get(at.kind, space, at.name) if at.name else self.verbs.page(at.kind, at.namespace, query)
        if method == "POST" and not at.name:
            return 201, self.verbs.create(at.kind, space, body, query)
        if method == "PUT" and at.name:
            return 200, self.verbs.replace(at.kind, space, at.name, body, status=status)
        if method == "PATCH" and at.name:
            return 200, self.verbs.patch(at.kind, space, at.name, body, (media, query), status=status)
        if method == "DELETE" and at.name:
            return 200, self.verbs.delete(at.kind, space, at.name, {**query, **(body or {})})
        raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    def _allowed(self, method: str, at: Target, query: dict[str, str]) -> None:
        verb = VERBS.get(method, method)
        verb = ("watch" if query.get("watch") else "list") if verb == "get" and not at.name else verb
        if (verb, at.kind.plural) in self.verbs.faults.denied:
            where = f' in the namespace "{at.namespace}"' if at.namespace else " at the cluster scope"
            user = 'User "system:serviceaccount:default:penstock"'
            group = f' in API group "{at.kind.group}"'
            raise Refusal(
                403,
                "Forbidden",
                f'{at.kind.qualified} is forbidden: {user} cannot {verb} resource "{at.kind.plural}"{group}{where}',
                {"kind": at.kind.plural},
            )

    def watch(self, at: Target, query: dict[str, str]) -> Iterator[Object]:
        """Events until the client goes, `timeoutSeconds` are over, or watches are cut. Raises Refusal (410)."""
        objects, cut = self.verbs.objects, self.cuts
        version = int(query.get("resourceVersion") or 0) or objects.version
        if objects.since(version, at.kind, at.namespace) is None:
            raise gone(f"too old resource version: {version} ({objects.version})")
        deadline, marked = time.monotonic() + float(query.get("timeoutSeconds") or 300), time.monotonic()
        known = {_at(row) for row in objects.rows(at.kind, at.namespace) if selected(row, query)} if query.get("labelSelector") else set()
        while time.monotonic() < deadline and not self.closing.is_set() and self.cuts == cut:
            with objects.changed:
                if objects.version == version:
                    objects.changed.wait(0.2)
                changes = objects.since(version, at.kind, at.namespace)
                latest = objects.version
            if changes is None:
                yield {"type": "ERROR", "object": gone(f"too old resource version: {version} ({latest})").status()}
                return
            for change in changes:
                yield from _event(change.type, change.value, query, known)
            version = latest
            if query.get("allowWatchBookmarks") and time.monotonic() - marked > BOOKMARK_S:
                marked = time.monotonic()
                mark = {"apiVersion": at.kind.api_version, "kind": at.kind.name, "metadata": {"resourceVersion": str(version)}}
                yield {"type": "BOOKMARK", "object": mark}
            yield {}


def _at(row: Object) -> str:
    return f"{row['metadata'].get('namespace', '')}/{row['metadata']['name']}"


def _event(type_: str, value: Object, query: dict[str, str], known: set[str]) -> Iterator[Object]:
    """What leaves the selection is told as deleted, what enters it as added."""
    fits, name = selected(value, query), _at(value)
    if not query.get("labelSelector"):
        if fits:
            yield {"type": type_, "object": value}
    elif fits and type_ != "DELETED":
        yield {"type": "MODIFIED" if name in known else "ADDED", "object": value}
        known.add(name)
    elif name in known or (fits and type_ == "DELETED"):
        known.discard(name)
        yield {"type": "DELETED", "object": value}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body leave together: else each answer waits 40 ms for the other side's delayed acknowledgement
    api: Api  # set by `serving`

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length) if length else b""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        self.api.seen.append((self.command, self.path))
        faults, pause = self.api.verbs.faults, None
        try:
            self._faulty(faults)
            if self.headers.get("Authorization") != f"Bearer {self.api.token}":
                raise Refusal(401, "Unauthorized", "Unauthorized")
            body = None
            if raw:
                try:
                    body = orjson.loads(raw)
                except ValueError as error:
                    raise malformed(f"couldn't get version/kind; json parse error: {error}") from error
            if query.get("watch") in ("true", "1"):
                self._stream(parts.path, query)
                return
            media = (self.headers.get("Content-Type") or "").partition(";")[0]
            code, value = self.api.answer(self.command, parts.path, query, body, media)
        except Refusal as refusal:
            code, value, pause = refusal.code, refusal.status(), refusal.retry_s
        if faults.strikes("lose_answers", self.command):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._say(code, value, pause)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def _faulty(self, faults: Any) -> None:
        if faults.strikes("throttle", self.command):
            raise Refusal(429, "TooManyRequests", "the server has received too many requests, try again later", retry_s=0)
        if faults.strikes("broken", self.command):
            raise Refusal(500, "InternalError", "Internal error occurred: etcdserver: request timed out")
        if faults.strikes("hang", self.command):
            self.api.closing.wait(faults.hang_s)

    def _stream(self, path: str, query: dict[str, str]) -> None:
        at = self.api.target(path)
        self.api._allowed("GET", at, query)
        events = self.api.watch(at, query)
        first = next(events, {})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.flush()
            for event in (first, *()):
                self._chunk(event)
            for event in events:
                self._chunk(event)
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        self.close_connection = True

    def _chunk(self, event: Object) -> None:
        if event:
            data = orjson.dumps(event) + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.flush()

    def _say(self, code: int, value: Object | str, retry_s: int | None = None) -> None:
        text = isinstance(value, str)
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        with contextlib.suppress(OSError):
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            if retry_s is not None:
                self.send_header("Retry-After", str(retry_s))
            self.end_headers()
            self.wfile.write(data)
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: `Api.seen` has the calls."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or did not shake hands, is no error of the server."""


@contextlib.contextmanager
def serving(api: Api, certificate: Path, key: Path) -> Iterator[str]:
    """The URL, while it serves."""
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"api": api}))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    # Hands are shaken by the thread of the connection, so that a slow one holds nobody up.
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="kubernetes-api", daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        api.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
