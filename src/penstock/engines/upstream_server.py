"""The server behind an upstream engine: where it is, what it is, which models it has. Bodies and answers are OpenAI's."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from penstock.core.errors import ArtifactCorrupt, BadInput, UpstreamRefused
from penstock.spec.references import resolve_secret

NAME = "upstream.json"
PROBE_S, CONNECT_S = 10.0, 5.0
ROUTES = {"text-generation": ("/v1/chat/completions", "/v1/completions"), "embedding": ("/v1/embeddings",)}


@dataclass(frozen=True, slots=True)
class Server:
    """`url` with or without `/v1`. `model`: its name there. `key`: a reference such as `${secret:VLLM_KEY}`, never the value."""

    url: str
    model: str
    key: str | None = None

    @property
    def root(self) -> str:
        return self.url.rstrip("/").removesuffix("/v1")

    def headers(self) -> dict[str, str]:
        """Raises ReferenceUnset when the key's secret is not there."""
        return {"authorization": f"Bearer {resolve_secret(self.key)}"} if self.key else {}

    def data(self) -> bytes:
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Found:
    """What a server says of itself. `kind`: vllm, tgi, llama.cpp or openai (any other). `max_length` in tokens, 0 when it does not say."""

    kind: str
    version: str
    models: tuple[str, ...]
    max_length: int


def checked_url(url: str) -> str:
    """Raises BadInput for anything but http(s) with a host and without credentials."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine, parts = False, None
    if not fine or parts is None:
        raise BadInput(f"{url!r} is not the address of a model server", remedy="Give one such as http://127.0.0.1:8000/v1.")
    if parts.username or parts.password:
        raise BadInput("the address holds a password", remedy="Give the key as a reference instead: --key '${secret:NAME}'.")
    return url


def read_server(folder: Path) -> Server:
    """The server that a bundle names. Raises ArtifactCorrupt."""
    path = folder / NAME
    try:
        server = Server(**json.loads(path.read_bytes()))
        checked_url(server.url)
    except (OSError, ValueError, TypeError, BadInput) as error:
        raise ArtifactCorrupt(f"{path} does not read as the address of a model server ({error})") from error
    return server


def look(server: Server, client: httpx.Client) -> Found:
    """Asks the server for its models and what it is. Raises UpstreamRefused when it does not answer as OpenAI's do."""
    listed = _json(client, f"{server.root}/v1/models", server)
    if listed is None or not isinstance(listed.get("data"), list):
        raise UpstreamRefused(f"{server.root}/v1/models does not list models; is it an OpenAI-compatible server?")
    models = [row for row in listed["data"] if isinstance(row, dict) and isinstance(row.get("id"), str)]
    mine: Mapping[str, Any] = next((row for row in models if row["id"] == server.model), {})
    length = mine.get("max_model_len") or (mine.get("meta") or {}).get("n_ctx_train") or 0
    kind, version = "openai", ""
    for name, path, field in (
        ("tgi", "/info", "max_input_tokens"),
        ("llama.cpp", "/props", "default_generation_settings"),
        ("vllm", "/version", "version"),
    ):
        told = _json(client, server.root + path, server, may_fail=True)
        if told is not None and field in told:
            kind, version = name, str(told.get("version") or told.get("build_info") or "")
            length = length or told.get("max_total_tokens") or (told.get("default_generation_settings") or {}).get("n_ctx") or 0
            break
    return Found(kind, version, tuple(row["id"] for row in models), int(length))


def choose_model(server: Server, found: Found) -> Server:
    """The server with its model settled: the one asked for, or the only one there is. Raises BadInput naming those that there are."""
    if server.model in found.models:
        return server
    if not server.model and len(found.models) == 1:
        return Server(server.url, found.models[0], server.key)
    near = difflib.get_close_matches(server.model, found.models, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    wanted = f"has no model {server.model!r}{hint}" if server.model else "has not exactly one model"
    raise BadInput(f"{server.root} {wanted} (there are: {', '.join(found.models) or 'none'})")


def _json(client: httpx.Client, url: str, server: Server, may_fail: bool = False) -> dict[str, Any] | None:
    try:
        answer = client.get(url, headers=server.headers(), timeout=PROBE_S)
    except httpx.HTTPError as error:
        if may_fail:
            return None
        raise UpstreamRefused(f"{url} cannot be reached: {error or type(error).__name__}") from error
    if answer.status_code != 200:
        if may_fail:
            return None
        raise UpstreamRefused(f"{url} answered {answer.status_code}: {told(answer.content)}", answer.status_code)
    try:
        value = answer.json()
    except ValueError:
        value = None
    return value if isinstance(value, dict) else None


def told(body: bytes) -> str:
    """The message of an error in OpenAI's shape, or the beginning of what was said instead."""
    try:
        error = json.loads(body)
        error = error.get("error", error)
        message = error.get("message") if isinstance(error, dict) else error
        return str(message or error)[:500]
    except (ValueError, AttributeError):
        return body[:200].decode("utf-8", "replace").strip() or "nothing"
