"""How to generate, read from a request body: sampling, stops, the form of the answer, and what is refused because it would change it.

Names and ranges are those of OpenAI's API reference; `top_k`, `repetition_penalty` and `structured_outputs` are named as vLLM names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from penstock.engines.contract import OutputFormat
from penstock.serving.errors import nearest
from penstock.serving.fields import bad, boolean, integer, kind_of, number

MAX_TOKENS, MAX_CHOICES, MAX_STOPS, MAX_STOP_CHARACTERS, MAX_TOP = 1 << 20, 64, 16, 256, 20
MAX_FORMAT_BYTES = 64 << 10  # a schema, grammar or expression: compiling one costs far more than reading it
IGNORED = frozenset(
    ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls", "verbosity")
)
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "suffix": (None, ""),
    "logit_bias": (None, {}),
    "modalities": (None, ["text"]),
    "best_of": (None,),  # of completions it may also be n
    "reasoning_effort": (None, "none"),
}
SAMPLING = frozenset(
    (
        "model",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "n",
        "logprobs",
        "presence_penalty",
        "frequency_penalty",
        "repetition_penalty",
        "response_format",
        "structured_outputs",
    )
)
_STRUCTURED = {"json": "json_schema", "regex": "regex", "grammar": "grammar"}


def known(value: Mapping[str, Any], fields: frozenset[str]) -> None:
    """Raises RequestRefused for a field that is unknown, or that would change the answer in a way that nobody here can."""
    for name, given in value.items():
        if name in fields or name in IGNORED:
            continue
        neutral = NEUTRAL.get(name)
        if neutral is None:
            raise bad(f"unknown field {name[:60]!r}{nearest(name, fields | set(NEUTRAL))}", name[:60], "unknown_field")
        if given not in neutral:
            raise bad(f"{name} is not supported with this value; leave it out", name, "unsupported_value")


def sampling(value: Mapping[str, Any], limit: str, *, least: int = 1) -> dict[str, Any]:
    """The fields of a GenerateRequest that all generation routes share. `limit` names the field that bounds the answer."""
    given = integer(value, limit, least, MAX_TOKENS)
    return {
        "max_tokens": 128 if given is None else given,
        "temperature": number(value, "temperature", 1.0, 0.0, 2.0),
        "top_p": number(value, "top_p", 1.0, 0.0, 1.0),
        "top_k": _top_k(value),
        "seed": integer(value, "seed", 0, (1 << 63) - 1),
        "stop": _stops(value.get("stop")),
        "n": integer(value, "n", 1, MAX_CHOICES) or 1,
        "presence_penalty": number(value, "presence_penalty", 0.0, -2.0, 2.0),
        "frequency_penalty": number(value, "frequency_penalty", 0.0, -2.0, 2.0),
        "repetition_penalty": number(value, "repetition_penalty", 1.0, 0.01, 10.0),
        "output": _output(value),
    }


def streaming(value: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether to stream, and whether the stream ends with what was used."""
    stream, options = boolean(value, "stream"), value.get("stream_options")
    if options is not None and (not isinstance(options, dict) or (options and not stream)):
        raise bad("stream_options is an object, and only allowed with stream: true", "stream_options")
    for name in options or ():
        if name not in ("include_usage", "include_obfuscation"):
            raise bad(f"unknown field 'stream_options.{name[:60]}'", f"stream_options.{name[:60]}", "unknown_field")
    return stream, boolean(options or {}, "include_usage")


def _top_k(value: Mapping[str, Any]) -> int | None:
    found = integer(value, "top_k", -1, 1 << 20)
    return found if found is not None and found > 0 else None  # -1 and 0 mean all, as in vLLM


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MAX_STOPS:
        seen = f"{len(stops)} of them" if isinstance(stops, list) else kind_of(value)
        raise bad(f"stop must be a string or up to {MAX_STOPS} strings, not {seen}", "stop")
    if not all(isinstance(s, str) and 0 < len(s) <= MAX_STOP_CHARACTERS for s in stops):
        raise bad(f"each stop must be a string of 1 to {MAX_STOP_CHARACTERS} characters", "stop")
    return tuple(stops)


def _output(value: Mapping[str, Any]) -> OutputFormat | None:
    form, structured = value.get("response_format"), value.get("structured_outputs")
    if structured is not None:
        if form is not None:
            raise bad("response_format and structured_outputs both say what the answer must look like; give one", "structured_outputs")
        return _structured(structured)
    if form is None:
        return None
    if not isinstance(form, dict):
        raise bad(f"response_format must be an object, not {kind_of(form)}", "response_format")
    kind = form.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return OutputFormat("json")
    if kind != "json_schema":
        raise bad(f"response_format.type must be text, json_object or json_schema, not {kind!r:.60}", "response_format.type")
    described = form.get("json_schema")
    if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
        raise bad("response_format.json_schema must be an object with the key `schema`, itself an object", "response_format.json_schema")
    return OutputFormat("json_schema", _bounded(described["schema"], "response_format.json_schema.schema"))


def _structured(value: Any) -> OutputFormat:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in _STRUCTURED:
        raise bad(f"structured_outputs must be an object with exactly one of {', '.join(_STRUCTURED)}", "structured_outputs")
    [(name, wanted)] = value.items()
    where = f"structured_outputs.{name}"
    if not isinstance(wanted, dict if name == "json" else str) or not wanted:
        raise bad(f"{where} must be {'a JSON schema (an object)' if name == 'json' else 'a string that is not empty'}", where)
    kind: Any = _STRUCTURED[name]
    return OutputFormat(kind, _bounded(wanted, where))


def _bounded(value: Any, where: str) -> Any:
    try:
        size = len(orjson.dumps(value))
    except TypeError:  # the parser reads 1024 levels, the writer and most readers of schemas far fewer
        raise bad(f"{where} nests too deep", where) from None
    if size > MAX_FORMAT_BYTES:
        raise bad(f"{where} has {size} bytes; the limit is {MAX_FORMAT_BYTES}", where)
    return value
