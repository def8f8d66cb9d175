"""The upstream engine: a model server that speaks OpenAI's protocol (vLLM, TGI, llama.cpp, any other) behind the same contract.

The bundle holds an address, no weights, so its digest vouches for the address only, not for what the server loads behind it.
Requests of the API go through `forward` as they are; `generate` serves evaluation and tests.
Not covered: classification; scoring on servers that do not echo log-probabilities of prompts.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from penstock.core.errors import BadInput, EngineClosed, UpstreamRefused
from penstock.engines.bundle_file import BundleFile
from penstock.engines.contract import (
    Chunk,
    Embedded,
    EmbedRequest,
    EngineInfo,
    GenerateRequest,
    OutputFormat,
    Request,
    Scored,
    ScoreRequest,
    Text,
    TokenLogprob,
)
from penstock.engines.requests import check_generate, check_text, check_texts
from penstock.engines.settings import settings_of
from penstock.engines.tally import Tally
from penstock.engines.upstream_server import CONNECT_S, Found, Server, choose_model, look, read_server, told

NAME = "upstream"
HEALTH_S = 5.0


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`read_timeout_s`: between two pieces of an answer. `connections`: at once."""

    read_timeout_s: float = 120.0
    connections: int = 256


class Upstream:
    """Opens with `Upstream.open(folder, description, settings, digest)`; the server must answer then."""

    info: EngineInfo

    def __init__(self, server: Server, found: Found, info: EngineInfo, wanted: UpstreamSettings) -> None:
        self.server, self.found, self.info = server, found, info
        self._wanted = wanted
        self._tally = Tally("requests", "prompt_tokens", "completion_tokens", "cancelled", "refused", "lost", "busy_s")
        self._running = 0
        self._up, self._looked = 1.0, time.monotonic()
        self._client: httpx.AsyncClient | None = None
        self._closed = False

    @classmethod
    def open(cls, folder: Path, description: BundleFile, settings: Mapping[str, Any], digest: str | None) -> Upstream:
        """Raises UpstreamRefused when the server does not answer, BadInput when it lost the model, ReferenceUnset without its key."""
        wanted = settings_of(UpstreamSettings, settings, NAME)
        server = read_server(folder)
        with httpx.Client(trust_env=False) as client:
            found = look(server, client)
        choose_model(server, found)
        told_settings = {**asdict(wanted), "server": found.kind, "server_version": found.version, "model": server.model}
        length = found.max_length or description.max_length
        info = EngineInfo(NAME, description.task, digest, description.precision, length, (), told_settings)
        return cls(server, found, info, wanted)

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        """Text chunks, one Embedded, or one Scored. Raises BadInput for what the server refuses as wrong, UpstreamRefused for the rest."""
        if isinstance(request, GenerateRequest):
            check_generate(request)
            async for text in self._texts(request):
                yield text
        elif isinstance(request, EmbedRequest):
            check_texts(request.texts)
            yield await self._embedded(request)
        elif isinstance(request, ScoreRequest):
            check_text(request.text, "the text")
            yield await self._scored(request.text)
        else:
            raise BadInput("an upstream server generates and embeds; it cannot classify", remedy="Send it to a text-classification model.")

    async def forward(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """The server's own bytes; the body's `model` becomes its name there. Leaving early closes the connection: that cancels the work."""
        if self._closed:
            raise EngineClosed("the engine is closed")
        self._tally.add(requests=1)
        self._running += 1
        begun, whole = time.perf_counter(), False
        try:
            sending = self._http().stream("POST", self.server.root + path, json={**body, "model": self.server.model})
            async with sending as answer:
                if answer.status_code != 200:
                    raise UpstreamRefused(told(await answer.aread()), answer.status_code)
                self._up = 1.0
                async for piece in answer.aiter_bytes():
                    yield piece
            whole = True
        except UpstreamRefused:
            whole = True
            self._tally.add(refused=1)
            raise
        except httpx.HTTPError as error:
            whole, self._up = True, 0.0
            self._tally.add(lost=1)
            raise UpstreamRefused(f"{self.server.root} was lost: {error or type(error).__name__}", 502) from error
        finally:
            self._running -= 1
            self._tally.add(busy_s=time.perf_counter() - begun, cancelled=0 if whole else 1)

    def metrics(self) -> Mapping[str, float]:
        return {**self._tally.read(), "running": float(self._running), "waiting": 0.0, "upstream_up": self._up}

    async def healthy(self) -> bool:
        """Whether the server lists the model now; asked at most every few seconds."""
        if time.monotonic() - self._looked > HEALTH_S:
            self._looked = time.monotonic()
            try:
                answer = await self._http().get(f"{self.server.root}/v1/models", timeout=HEALTH_S)
                listed = answer.json()["data"] if answer.status_code == 200 else []
                self._up = float(any(row.get("id") == self.server.model for row in listed))
            except (httpx.HTTPError, ValueError, KeyError, AttributeError):
                self._up = 0.0
        return self._up > 0

    async def close(self) -> None:
        self._closed = True
        if self._client is not None:
            await self._client.aclose()

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            timeout = httpx.Timeout(self._wanted.read_timeout_s, connect=CONNECT_S)
            limits = httpx.Limits(max_connections=self._wanted.connections, max_keepalive_connections=self._wanted.connections)
            self._client = httpx.AsyncClient(headers=self.server.headers(), timeout=timeout, limits=limits, trust_env=False)
        return self._client

    async def _object(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        data = b"".join([piece async for piece in self._refusing(path, body)])
        try:
            value = json.loads(data)
            if isinstance(value, dict):
                return value
        except ValueError:
            pass
        raise UpstreamRefused(f"{self.server.root}{path} answered what is no JSON object: {told(data)}")

    async def _refusing(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """`forward`, with what the server holds to be the client's fault as BadInput."""
        try:
            async with contextlib.aclosing(self.forward(path, body)) as pieces:
                async for piece in pieces:
                    yield piece
        except UpstreamRefused as error:
            if error.status in (400, 413, 422):
                raise BadInput(str(error)) from error
            raise

    async def _texts(self, request: GenerateRequest) -> AsyncIterator[Text]:
        chat = bool(request.messages)
        path, body = ("/v1/chat/completions" if chat else "/v1/completions"), body_of(request)
        tokens, made = (0, 0), 0
        ended: dict[int, str] = {}
        async with contextlib.aclosing(self._refusing(path, body)) as pieces:
            async for event in events(pieces):
                usage = event.get("usage")
                if usage:
                    tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
                for choice in event.get("choices") or ():
                    index, reason = int(choice.get("index") or 0), choice.get("finish_reason")
                    words = (choice.get("delta") or {}).get("content") if chat else choice.get("text")
                    if reason:
                        ended[index] = str(reason)
                    if words:
                        made += 1
                        yield Text(words, None, tokens[0], made, index, _logprobs(choice, chat))
        self._tally.add(prompt_tokens=tokens[0], completion_tokens=tokens[1])
        for index in range(request.n):
            yield Text("", ended.get(index, "stop"), tokens[0], tokens[1] or made, index)

    async def _embedded(self, request: EmbedRequest) -> Embedded:
        body: dict[str, Any] = {"input": list(request.texts)}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        answer = await self._object("/v1/embeddings", body)
        rows = sorted(answer.get("data") or (), key=lambda row: row.get("index", 0))
        if len(rows) != len(request.texts):
            raise UpstreamRefused(f"{self.server.root} gave {len(rows)} vectors for {len(request.texts)} texts")
        return Embedded([row["embedding"] for row in rows], int((answer.get("usage") or {}).get("prompt_tokens") or 0))

    async def _scored(self, text: str) -> Scored:
        answer = await self._object("/v1/completions", {"prompt": text, "max_tokens": 1, "echo": True, "logprobs": 0, "temperature": 0})
        try:
            told_of = answer["choices"][0]["logprobs"]
            read = int(answer["usage"]["prompt_tokens"])
            values = told_of["token_logprobs"][1:read]
            return Scored(-sum(values), len(values), len("".join(told_of["tokens"][1:read])))
        except (KeyError, IndexError, TypeError) as error:
            raise BadInput(f"the {self.found.kind} server does not give log-probabilities of a prompt, so it cannot score texts") from error


def body_of(request: GenerateRequest) -> dict[str, Any]:
    """OpenAI's fields (and the names that vLLM adds to them) of a request, streamed with usage."""
    body: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    if request.messages:
        body["messages"] = [{"role": message.role, "content": message.content} for message in request.messages]
    else:
        body["prompt"] = request.prompt if request.prompt is not None else list(request.prompt_ids)
    body.update(max_tokens=request.max_tokens, temperature=request.temperature, top_p=request.top_p)
    neutral = GenerateRequest(prompt="")
    for name in ("top_k", "seed", "n", "echo", "presence_penalty", "frequency_penalty", "repetition_penalty"):
        if getattr(request, name) != getattr(neutral, name):
            body[name] = getattr(request, name)
    if request.stop:
        body["stop"] = list(request.stop)
    if request.tools:
        body["tools"] = [dict(tool) for tool in request.tools]
    if request.logprobs is not None:
        body.update({"logprobs": True, "top_logprobs": request.logprobs} if request.messages else {"logprobs": request.logprobs})
    if request.output is not None:
        body.update(_format(request.output))
    return body


def _format(output: OutputFormat) -> dict[str, Any]:
    if output.kind == "json":
        return {"response_format": {"type": "json_object"}}
    if output.kind == "json_schema":
        return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": output.value}}}
    return {"structured_outputs": {output.kind: output.value}}


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of server-sent events, however their bytes were cut. Raises UpstreamRefused for an error among them."""
    held = b""
    async for piece in pieces:
        held += piece
        *lines, held = held.split(b"\n")
        for line in lines:
            data = line.strip().removeprefix(b"data:").strip()
            if not line.startswith(b"data:") or data == b"[DONE]":
                continue
            try:
                value = json.loads(data)
            except ValueError as error:
                raise UpstreamRefused(f"the server sent an event that is not JSON: {told(data)}") from error
            if isinstance(value, dict):
                if value.get("error"):
                    raise UpstreamRefused(told(data))
                yield value
        await asyncio.sleep(0)


def _logprobs(choice: Mapping[str, Any], chat: bool) -> tuple[TokenLogprob, ...]:
    found = choice.get("logprobs") or {}
    if chat:
        rows = found.get("content") or ()
        return tuple(
            TokenLogprob(r["token"], r["logprob"], tuple((t["token"], t["logprob"]) for t in r.get("top_logprobs") or ())) for r in rows
        )
    tops = found.get("top_logprobs") or [{}] * len(found.get("tokens") or ())
    rows = zip(found.get("tokens") or (), found.get("token_logprobs") or (), tops, strict=False)
    return tuple(TokenLogprob(token, value, tuple((top or {}).items())) for token, value, top in rows)
