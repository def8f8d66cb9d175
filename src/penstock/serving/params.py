"""Request bodies to engine requests: every field checked, the field at fault named.

Source of names and defaults: OpenAI's API reference (completions, chat completions, embeddings); `/v1/classify` is ours.
Fields that would change the answer and are not supported are refused unless they hold their neutral value; unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from penstock.engines.contract import ClassifyRequest, EmbedRequest, GenerateRequest
from penstock.serving.conversation import messages_of, tools_of
from penstock.serving.fields import bad, boolean, integer, kind_of, token_ids
from penstock.serving.sampling import MAX_CHOICES, MAX_TOKENS, MAX_TOP, SAMPLING, known, sampling, streaming

MAX_TEXTS, MAX_PROMPTS, MAX_IDS, MAX_DIMENSIONS = 2048, 256, 1 << 20, 1 << 16
CLASSIFY = frozenset(("model", "input", "top_k"))
EMBED = frozenset(("model", "input", "encoding_format", "dimensions"))
COMPLETE = SAMPLING | {"prompt", "echo", "best_of"}
CHAT = SAMPLING | {"messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice"}


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate and how to send it: `n` choices of each request, numbered through in the order of the prompts."""

    requests: tuple[GenerateRequest, ...]
    stream: bool
    include_usage: bool
    prompt_only: bool = False  # max_tokens 0 with echo: engines write at least one token, which is then not shown

    @property
    def n(self) -> int:
        return self.requests[0].n

    @property
    def logprobs(self) -> int | None:
        return self.requests[0].logprobs

    def with_adapter(self, adapter: str) -> Generation:
        return replace(self, requests=tuple(replace(request, adapter=adapter) for request in self.requests))


@dataclass(frozen=True, slots=True)
class EmbeddingOrder:
    request: EmbedRequest
    base64: bool


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises RequestRefused (400) with the position of what is wrong."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno} (byte {error.pos})"
        raise bad(f"The body is not JSON: {error.msg} at {place}", None, "invalid_json") from None
    if not isinstance(value, dict):
        raise bad(f"The body must be a JSON object, not {kind_of(value)}", None, "invalid_json")
    return value


def classify(value: Mapping[str, Any]) -> ClassifyRequest:
    known(value, CLASSIFY)
    return ClassifyRequest(_texts(value), integer(value, "top_k", 1, 1 << 20))


def embed(value: Mapping[str, Any]) -> EmbeddingOrder:
    known(value, EMBED)
    form = value.get("encoding_format")
    if form not in (None, "float", "base64"):
        raise bad(f"encoding_format must be float or base64, not {form!r:.60}", "encoding_format")
    dimensions, given = integer(value, "dimensions", 1, MAX_DIMENSIONS), value.get("input")
    if not isinstance(given, list) or not given or isinstance(given[0], str):
        return EmbeddingOrder(EmbedRequest(_texts(value), dimensions), form == "base64")
    rows = given if isinstance(given[0], list) else [given]
    if len(rows) > MAX_TEXTS:
        raise bad(f"input has {len(rows)} texts; the limit is {MAX_TEXTS}", "input")
    ids = [token_ids(row, f"input[{at}]" if rows is given else "input", MAX_IDS) for at, row in enumerate(rows)]
    return EmbeddingOrder(EmbedRequest((), dimensions, ids), form == "base64")


def complete(value: Mapping[str, Any]) -> Generation:
    known(value, COMPLETE)
    echo = boolean(value, "echo")
    shared = sampling(value, "max_tokens", least=0 if echo else 1)
    prompt_only = shared["max_tokens"] == 0
    shared["max_tokens"] = max(shared["max_tokens"], 1)
    best = integer(value, "best_of", 1, MAX_CHOICES)
    if best is not None and best != shared["n"]:
        raise bad(f"best_of must be n ({shared['n']}): answers are not ranked here", "best_of", "unsupported_value")
    logprobs = integer(value, "logprobs", 0, MAX_TOP)
    prompts = _prompts(value.get("prompt"))
    if len(prompts) * shared["n"] > MAX_PROMPTS:
        raise bad(f"{len(prompts)} prompts with n {shared['n']} make more than {MAX_PROMPTS} choices; send several requests", "prompt")
    requests = [GenerateRequest(**prompt, **shared, logprobs=logprobs, echo=echo) for prompt in prompts]
    return Generation(tuple(requests), *streaming(value), prompt_only)


def chat(value: Mapping[str, Any]) -> Generation:
    known(value, CHAT)
    messages, tools = messages_of(value), tools_of(value)
    limit = "max_tokens"
    if value.get("max_completion_tokens") is not None:
        integer(value, limit, 1, MAX_TOKENS)  # it gives way, but is not to be nonsense
        limit = "max_completion_tokens"
    top = integer(value, "top_logprobs", 0, MAX_TOP)
    wanted = boolean(value, "logprobs")
    if top and not wanted:
        raise bad("top_logprobs needs logprobs: true", "top_logprobs")
    request = GenerateRequest(messages=messages, tools=tools, logprobs=(top or 0) if wanted else None, **sampling(value, limit))
    return Generation((request,), *streaming(value))


def _prompts(value: Any) -> list[dict[str, Any]]:
    """A string, a list of strings, token ids, or a list of lists of them, as arguments of GenerateRequest."""
    if isinstance(value, str):
        return [{"prompt": value}]
    if not isinstance(value, list) or not value:
        raise bad(
            f"prompt must be a string, strings, token ids or lists of them, not {kind_of(value) if value != [] else 'empty'}", "prompt"
        )
    if type(value[0]) is int:
        return [{"prompt_ids": token_ids(value, "prompt", MAX_IDS)}]
    if len(value) > MAX_PROMPTS:
        raise bad(f"prompt has {len(value)} prompts; the limit is {MAX_PROMPTS}", "prompt")
    if isinstance(value[0], list):
        return [{"prompt_ids": token_ids(row, f"prompt[{at}]", MAX_IDS)} for at, row in enumerate(value)]
    for at, text in enumerate(value):
        if not isinstance(text, str):
            raise bad(f"prompt[{at}] must be a string, not {kind_of(text)}", f"prompt[{at}]")
    return [{"prompt": text} for text in value]


def _texts(value: Mapping[str, Any]) -> list[str]:
    texts = value.get("input")
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, list) or not texts:
        raise bad(f"input must be a string or a list of strings, not {kind_of(texts) if texts != [] else 'an empty list'}", "input")
    if len(texts) > MAX_TEXTS:
        raise bad(f"input has {len(texts)} texts; the limit is {MAX_TEXTS}", "input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise bad(f"input[{index}] must be a string, not {kind_of(text)}", f"input[{index}]")
    return texts


PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "/v1/classify": classify,
    "/v1/embeddings": embed,
    "/v1/completions": complete,
    "/v1/chat/completions": chat,
}
