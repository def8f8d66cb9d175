"""A deterministic engine without weights, for tests of everything around an engine."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.core.errors import BadInput, ReplicaFailed
from penstock.engines.contract import (
    Chunk,
    Classified,
    ClassifyRequest,
    Embedded,
    EmbedRequest,
    EngineInfo,
    GenerateRequest,
    Request,
    Text,
    TokenLogprob,
)
from penstock.serving.warming import shapes

LABELS = ("billing", "cards", "transfers")
LOGPROB = -0.25  # of every word but a prompt's first


class EchoEngine:
    """Says the prompt's words back, one a step, round and round. Same request, same answer; a word is a token, ids read as `t7 t8`.

    Settings: `task`, `step_s` (pause per token or per request, those of the warm-up excepted), `load_s` (pause when made),
    `fail` ("load" raises when made), `steps_file` (one byte a step), `tools` (chats may have tools). A text that contains `\\x00` is
    refused (BadInput); one that contains `boom` makes it raise, `doom` breaks the engine for good. Choice 1 says the words from the second
    on, and so forth; an adapter's words are `<adapter>:word`. `output` of kind "json" or "json_schema" is answered by a JSON object that
    says so; other kinds are refused.
    """

    def __init__(self, bundle: Path, settings: Mapping[str, Any]) -> None:
        if settings.get("fail") == "load":
            raise BadInput(f"the bundle {bundle} was told to fail")
        time.sleep(float(settings.get("load_s", 0.0)))
        self._step_s = float(settings.get("step_s", 0.0))
        self._steps_file = settings.get("steps_file")
        self._tools = bool(settings.get("tools"))
        self._requests = 0
        self._adapters: dict[str, Path] = {}
        self._warming = list(shapes(str(settings.get("task", "text-generation")), 4096))
        self.info = EngineInfo("echo", str(settings.get("task", "text-generation")), None, "none", 4096, LABELS, dict(settings))

    async def generate(self, request: Request) -> AsyncIterator[Chunk]:
        self._requests += 1
        if request in self._warming:
            self._warming.remove(request)
            yield Text("", "stop", 1, 1)
        elif isinstance(request, ClassifyRequest):
            await self._pause(request.texts)
            yield Classified([_scores(text)[: request.top_k] for text in request.texts], sum(_count(t) for t in request.texts))
        elif isinstance(request, EmbedRequest):
            texts = [*request.texts, *(_words_of(ids) for ids in request.ids)]
            await self._pause(texts)
            if (request.dimensions or 0) > 3:
                raise BadInput(f"dimensions is {request.dimensions}; this model has 3")
            yield Embedded([[1.0, 0.0, 0.0][: request.dimensions] for _ in texts], sum(_count(t) for t in texts))
        elif isinstance(request, GenerateRequest):
            async for chunk in self._text(request):
                yield chunk

    async def _text(self, request: GenerateRequest) -> AsyncIterator[Chunk]:
        prompt = self._prompt(request)
        self._check([prompt])
        words = prompt.split() or ["…"]
        read = _count(prompt)
        if request.echo:
            for index in range(request.n):
                yield Text(prompt, None, read, 0, index, _logprobs(request, words, first=True), read // 2)
        spoken = [f"{request.adapter}:{word}" for word in words] if request.adapter else words
        if request.output is not None:
            spoken = [json.dumps({"kind": request.output.kind})]
        said, done = dict.fromkeys(range(request.n), ""), 0  # of the choices that still speak
        for number in range(1, request.max_tokens + 1):
            await self._pause(())
            for index in list(said):
                done += 1
                word = spoken[(number - 1 + index) % len(spoken)] + " "
                said[index] += word
                stopped = any(stop in said[index] for stop in request.stop)
                shown = "" if stopped else word.strip() if request.output else word
                ended = "stop" if stopped or request.output else "length" if number == request.max_tokens else None
                logprobs = _logprobs(request, [shown] if shown else [])
                yield Text(shown, ended, read, done, index, logprobs, read // 2)
                if ended is not None:
                    del said[index]

    def _prompt(self, request: GenerateRequest) -> str:
        if request.tools and not self._tools:
            raise BadInput("this model's chat template takes no tools", remedy="Leave tools out, or serve a model whose template has them.")
        if request.adapter is not None and request.adapter not in self._adapters:
            raise BadInput(f"there is no adapter {request.adapter!r}")
        if request.output is not None and request.output.kind not in ("json", "json_schema"):
            raise BadInput(f"this engine cannot bind answers to a {request.output.kind}")
        if request.prompt_ids:
            return _words_of(request.prompt_ids)
        return request.prompt if request.prompt is not None else request.messages[-1].content

    async def _pause(self, texts: Sequence[str]) -> None:
        self._check(texts)
        await asyncio.sleep(self._step_s)
        if self._steps_file is not None:
            with open(self._steps_file, "ab") as file:
                file.write(b".")

    def _check(self, texts: Sequence[str]) -> None:
        if any("\x00" in text for text in texts):
            raise BadInput("the text holds a NUL character")
        if any("boom" in text for text in texts):
            raise RuntimeError(f"the engine broke on {texts!r}")
        if any("doom" in text for text in texts):
            raise ReplicaFailed("the engine broke for good")

    async def load_adapter(self, name: str, folder: Path) -> None:
        if not (folder / "adapter_config.json").is_file():
            raise BadInput(f"{folder} holds no adapter_config.json")
        self._adapters[name] = folder

    async def unload_adapter(self, name: str) -> None:
        self._adapters.pop(name, None)

    @property
    def adapters(self) -> Sequence[str]:
        return sorted(self._adapters)

    def metrics(self) -> Mapping[str, float]:
        return {"requests": float(self._requests)}

    async def close(self) -> None: ...


def _logprobs(request: GenerateRequest, words: Sequence[str], first: bool = False) -> list[TokenLogprob]:
    if request.logprobs is None:
        return []
    top = [("likelier", LOGPROB / 2), *((f"other{n}", LOGPROB * (n + 1)) for n in range(1, 21))][: request.logprobs]
    rows = [TokenLogprob(word, LOGPROB, top) for word in words]
    return [TokenLogprob(words[0], None), *rows[1:]] if first else rows


def _scores(text: str) -> list[tuple[str, float]]:
    first = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=2).digest()[0] % len(LABELS)
    order = (*LABELS[first:], *LABELS[:first])
    return list(zip(order, (0.7, 0.2, 0.1), strict=True))


def _words_of(ids: Sequence[int]) -> str:
    return " ".join(f"t{one}" for one in ids)


def _count(text: str) -> int:
    return len(text.split())


class EchoClassifier(EchoEngine):
    """Classifies, without being told so by settings."""

    def __init__(self, bundle: Path, settings: Mapping[str, Any]) -> None:
        super().__init__(bundle, {**settings, "task": "text-classification"})
