"""Request bodies to engine requests: every field checked, the field at fault named.

Source of names and defaults: OpenAI's API reference (completions, chat completions, embeddings); `/v1/classify` is ours.
Fields that would change the answer and are not supported are refused unless they hold their neutral value; unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from penstock.engines.contract import ClassifyRequest, EmbedRequest, GenerateRequest, Message
from penstock.serving.errors import RequestRefused, nearest

MAX_TEXTS, MAX_STOPS = 2048, 4
_IGNORED = {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None, ""),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "response_format": (None, {"type": "text"}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "modalities": (None, ["text"]),
}
_SAMPLING = {"model", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "stream", "stream_options"}
_ROLES = {"system", "developer", "user", "assistant"}


@dataclass(frozen=True, slots=True)
class Generation:
    """What to generate and how to send it."""

    request: GenerateRequest
    stream: bool
    include_usage: bool


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
        raise _bad(f"The body is not JSON: {error.msg} at {place}", None, "invalid_json") from None
    if not isinstance(value, dict):
        raise _bad(f"The body must be a JSON object, not {_kind(value)}", None, "invalid_json")
    return value


def classify(value: Mapping[str, Any]) -> ClassifyRequest:
    _known(value, {"model", "input", "top_k"})
    return ClassifyRequest(_texts(value), _integer(value, "top_k", None, 1, 1 << 20))


def embed(value: Mapping[str, Any]) -> EmbeddingOrder:
    _known(value, {"model", "input", "encoding_format", "dimensions"})
    form = value.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        raise _bad(f"encoding_format must be float or base64, not {form!r}", "encoding_format")
    if value.get("dimensions") is not None:
        raise _bad("dimensions cannot be chosen for this model; leave it out", "dimensions")
    return EmbeddingOrder(EmbedRequest(_texts(value)), form == "base64")


def complete(value: Mapping[str, Any]) -> Generation:
    _known(value, _SAMPLING | {"prompt"})
    prompt = value.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _bad(f"prompt must be one string, not {_kind(prompt)}", "prompt")
    return _generation(value, prompt, (), "max_tokens")


def chat(value: Mapping[str, Any]) -> Generation:
    _known(value, _SAMPLING | {"messages", "max_completion_tokens"})
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _bad("messages must be a list with at least one message", "messages")
    limit = "max_completion_tokens" if value.get("max_completion_tokens") is not None else "max_tokens"
    return _generation(value, None, [_message(m, f"messages[{i}]") for i, m in enumerate(messages)], limit)


def _generation(value: Mapping[str, Any], prompt: str | None, messages: Sequence[Message], limit: str) -> Generation:
    stream = _boolean(value, "stream")
    options = value.get("stream_options") or {}
    if not isinstance(options, dict) or (options and not stream):
        raise _bad("stream_options is an object, and only allowed with stream: true", "stream_options")
    request = GenerateRequest(
        prompt=prompt,
        messages=messages,
        max_tokens=_integer(value, limit, 128, 1, 1 << 20) or 128,
        temperature=_number(value, "temperature", 1.0, 0.0, 2.0),
        top_p=_number(value, "top_p", 1.0, 0.0, 1.0),
        top_k=_integer(value, "top_k", None, 1, 1 << 20),
        seed=_integer(value, "seed", None, -(1 << 63), (1 << 63) - 1),
        stop=_stops(value.get("stop")),
    )
    return Generation(request, stream, _boolean(options, "include_usage"))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise _bad(f"{where} must be an object, not {_kind(value)}", where)
    role, content = value.get("role"), value.get("content")
    if role not in _ROLES:
        raise _bad(f"{where}.role must be one of {', '.join(sorted(_ROLES))}, not {role!r:.60}", f"{where}.role")
    if isinstance(content, list):
        content = "".join(_part(p, f"{where}.content[{i}]") for i, p in enumerate(content))
    if not isinstance(content, str):
        raise _bad(f"{where}.content must be a string, not {_kind(content)}", f"{where}.content")
    return Message("system" if role == "developer" else str(role), content)


def _part(value: Any, where: str) -> str:
    if isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    kind = value.get("type") if isinstance(value, dict) else _kind(value)
    raise _bad(f"{where} has type {kind!r:.60}; this model reads text only", where)


def _texts(value: Mapping[str, Any]) -> list[str]:
    texts = value.get("input")
    if isinstance(texts, str):
        return [texts]
    if not isinstance(texts, list) or not texts:
        raise _bad(f"input must be a string or a list of strings, not {_kind(texts) if texts != [] else 'an empty list'}", "input")
    if len(texts) > MAX_TEXTS:
        raise _bad(f"input has {len(texts)} texts; the limit is {MAX_TEXTS}", "input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise _bad(f"input[{index}] must be a string, not {_kind(text)}", f"input[{index}]")
    return texts


def _known(value: Mapping[str, Any], fields: set[str]) -> None:
    for name, given in value.items():
        if name in fields or name in _IGNORED:
            continue
        neutral = _NEUTRAL.get(name)
        if neutral is None:
            raise _bad(f"unknown field {name[:60]!r}{nearest(name, fields | set(_NEUTRAL))}", name[:60], "unknown_field")
        if given not in neutral:
            raise _bad(f"{name} is not supported with this value; leave it out", name, "unsupported_value")


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise _bad(f"stop must be a string or up to {MAX_STOPS} strings, none empty", "stop")
    return tuple(stops)


def _integer(value: Mapping[str, Any], name: str, default: int | None, low: int, high: int) -> int | None:
    given = value.get(name)
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int) or not low <= given <= high:
        raise _bad(f"{name} must be a whole number from {low} to {high}, not {given!r:.60}", name)
    return given


def _number(value: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    given = value.get(name)
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not low <= given <= high:
        raise _bad(f"{name} must be a number from {low:g} to {high:g}, not {given!r:.60}", name)
    return float(given)


def _boolean(value: Mapping[str, Any], name: str) -> bool:
    given = value.get(name)
    if given is None or isinstance(given, bool):
        return bool(given)
    raise _bad(f"{name} must be true or false, not {given!r:.60}", name)


def _bad(message: str, param: str | None, code: str = "invalid_value") -> RequestRefused:
    return RequestRefused(400, message, code, param)


_KINDS: Mapping[type, str] = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}


def _kind(value: Any) -> str:
    return "nothing" if value is None else _KINDS.get(type(value), "something else")


PARSERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "/v1/classify": classify,
    "/v1/embeddings": embed,
    "/v1/completions": complete,
    "/v1/chat/completions": chat,
}
