"""JSON Schemas of what the routes take and give, with the bounds that the parsers hold; `openapi.py` puts them into a document."""

from __future__ import annotations

from typing import Any

from penstock.serving import conversation, feedback, params, sampling
from penstock.serving.adapters import MAX_PATH

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def maybe(schema: Schema) -> Schema:
    """`schema`, or null, which counts as absent."""
    if isinstance(schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def obj(required: tuple[str, ...], properties: Schema, closed: bool = True, **more: Any) -> Schema:
    found: Schema = {"type": "object", "properties": properties, **more}
    if required:
        found["required"] = list(required)
    return {**found, "additionalProperties": False} if closed else found


def whole(low: int, high: int, **more: Any) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, **more}


def real(low: float, high: float, **more: Any) -> Schema:
    return {"type": "number", "minimum": low, "maximum": high, **more}


def array(items: Schema, least: int | None = None, most: int | None = None) -> Schema:
    bounds = {"minItems": least, "maxItems": most}
    return {"type": "array", "items": items, **{name: bound for name, bound in bounds.items() if bound is not None}}


TEXT: Schema = {"type": "string"}
BOOLEAN: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
ANY: Schema = {}
_MODEL: Schema = {"type": "string", "description": "a deployment's name, or `name:adapter`"}
_IDS = array(whole(0, (1 << 31) - 1), 1, params.MAX_IDS)
_FORMAT = {
    "oneOf": [
        obj(("type",), {"type": {"const": "text"}}, closed=False),
        obj(("type",), {"type": {"const": "json_object"}}, closed=False),
        obj(
            ("type", "json_schema"),
            {"type": {"const": "json_schema"}, "json_schema": obj(("schema",), {"schema": {"type": "object"}}, closed=False)},
            closed=False,
        ),
    ]
}
_STRUCTURED = {
    "oneOf": [
        obj(("json",), {"json": {"type": "object", "minProperties": 1}}),
        obj(("regex",), {"regex": {"type": "string", "minLength": 1}}),
        obj(("grammar",), {"grammar": {"type": "string", "minLength": 1, "description": "EBNF"}}),
    ],
    "description": "what the answer must look like, beyond response_format",
}
_STOP = {"type": "string", "minLength": 1, "maxLength": sampling.MAX_STOP_CHARACTERS}
_OPTIONS = obj((), {"include_usage": maybe(BOOLEAN), "include_obfuscation": ANY})
_SAMPLING: Schema = {
    "model": _MODEL,
    "max_tokens": maybe(whole(1, sampling.MAX_TOKENS, description="default 128")),
    "temperature": maybe(real(0, 2, default=1, description="0 is greedy")),
    "top_p": maybe(real(0, 1, default=1)),
    "top_k": maybe(whole(-1, 1 << 20, description="-1 and 0: all")),
    "seed": maybe(whole(0, (1 << 63) - 1)),
    "stop": {"anyOf": [_STOP, array(_STOP, most=sampling.MAX_STOPS), {"type": "null"}]},
    "stream": maybe(BOOLEAN),
    "stream_options": {"anyOf": [_OPTIONS, {"type": "null"}], "description": "only with stream: true"},
    "n": maybe(whole(1, sampling.MAX_CHOICES, default=1)),
    "presence_penalty": maybe(real(-2, 2)),
    "frequency_penalty": maybe(real(-2, 2)),
    "repetition_penalty": maybe(real(0.01, 10)),
    "response_format": {"anyOf": [_FORMAT, {"type": "null"}]},
    "structured_outputs": {"anyOf": [_STRUCTURED, {"type": "null"}], "description": "not together with response_format"},
}
_ACCEPTED: Schema = {name: {"description": "accepted, without effect here"} for name in sorted(sampling.IGNORED)}
_ACCEPTED["user"] = {"description": "a string is a routing key: requests with the same one go to the same version"}


def _neutral(*but: str) -> Schema:
    return {name: {"enum": list(values)} for name, values in sampling.NEUTRAL.items() if name not in but}


_NAME = {"type": "string", "minLength": 1, "maxLength": 128}


def _function(key: str, kind: str) -> Schema:
    body = obj(("name",), {"name": _NAME, key: {"type": [kind, "null"]}}, closed=False)
    return obj(("type", "function"), {"type": {"const": "function"}, "function": body}, closed=False)


_PART = obj(("type", "text"), {"type": {"const": "text"}, "text": TEXT}, closed=False)
_CONTENT: Schema = {"anyOf": [TEXT, array(_PART)]}
_NO_CALLS: Schema = {"type": ["array", "null"], "maxItems": 0}
_SAYS = obj(("role", "content"), {"role": {"enum": ["developer", "system", "user"]}, "content": _CONTENT}, closed=False)
_SAYS["properties"]["tool_calls"] = _NO_CALLS
_ASSISTANT = {
    "anyOf": [
        obj(("role", "content"), {"role": {"const": "assistant"}, "content": _CONTENT, "tool_calls": _NO_CALLS}, closed=False),
        obj(
            ("role", "tool_calls"),
            {
                "role": {"const": "assistant"},
                "content": {"anyOf": [_CONTENT, {"type": "null"}]},
                "tool_calls": array(_function("arguments", "string"), 1, conversation.MAX_TOOLS),
            },
            closed=False,
        ),
    ]
}
_TOOL = obj(
    ("role", "content", "tool_call_id"),
    {"role": {"const": "tool"}, "content": _CONTENT, "tool_call_id": {"type": "string", "minLength": 1}, "tool_calls": _NO_CALLS},
    closed=False,
)
_USAGE = obj(
    ("prompt_tokens", "total_tokens"),
    {
        "prompt_tokens": INTEGER,
        "completion_tokens": INTEGER,
        "total_tokens": INTEGER,
        "prompt_tokens_details": obj((), {"cached_tokens": INTEGER}, closed=False),
    },
    closed=False,
)
_REASON = {"type": ["string", "null"]}
_TOKEN: Schema = {"token": TEXT, "logprob": NUMBER, "bytes": maybe(array(whole(0, 255)))}


def _answer(kind: str, choice: Schema) -> Schema:
    fields: Schema = {"id": TEXT, "object": {"const": kind}, "created": INTEGER, "model": TEXT, "choices": array(choice)}
    return obj(tuple(fields), {**fields, "usage": ref("Usage")}, closed=False)


REQUESTS: dict[str, Schema] = {
    "/v1/classify": obj(
        ("model", "input"),
        {
            "model": _MODEL,
            "input": {"anyOf": [TEXT, array(TEXT, 1, params.MAX_TEXTS)]},
            "top_k": maybe(whole(1, 1 << 20, description="labels of each text; default: all")),
            **_ACCEPTED,
        }
        | _neutral(),
    ),
    "/v1/embeddings": obj(
        ("model", "input"),
        {
            "model": _MODEL,
            "input": {"anyOf": [TEXT, array(TEXT, 1, params.MAX_TEXTS), _IDS, array(_IDS, 1, params.MAX_TEXTS)]},
            "encoding_format": {"enum": ["float", "base64", None]},
            "dimensions": maybe(whole(1, params.MAX_DIMENSIONS)),
            **_ACCEPTED,
        }
        | _neutral(),
    ),
    "/v1/completions": obj(
        ("model", "prompt"),
        {
            **_SAMPLING,
            "prompt": {"anyOf": [TEXT, array(TEXT, 1, params.MAX_PROMPTS), _IDS, array(_IDS, 1, params.MAX_PROMPTS)]},
            "max_tokens": maybe(whole(0, sampling.MAX_TOKENS, description="default 128; 0 only with echo")),
            "logprobs": maybe(whole(0, sampling.MAX_TOP, description="how many likely tokens to tell beside each")),
            "echo": maybe(BOOLEAN),
            "best_of": maybe(whole(1, sampling.MAX_CHOICES, description="must be n")),
            **_ACCEPTED,
        }
        | _neutral("best_of"),
    ),
    "/v1/chat/completions": obj(
        ("model", "messages"),
        {
            **_SAMPLING,
            "messages": array(ref("Message"), 1, conversation.MAX_MESSAGES),
            "max_completion_tokens": maybe(whole(1, sampling.MAX_TOKENS, description="goes before max_tokens")),
            "logprobs": maybe(BOOLEAN),
            "top_logprobs": maybe(whole(0, sampling.MAX_TOP, description="needs logprobs: true")),
            "tools": maybe(array(ref("Tool"), most=conversation.MAX_TOOLS)),
            "tool_choice": {"enum": ["auto", "none", None]},
            **_ACCEPTED,
        }
        | _neutral(),
    ),
    "/v1/feedback": obj(
        ("id",),
        {
            "id": {"type": "string", "pattern": r"^[A-Za-z0-9._:-]{1,64}$", "description": "of the request that is spoken of"},
            "score": maybe(real(-1, 1)),
            "thumbs": {"enum": ["up", "down", None], "description": "stands in for score"},
            "label": maybe({"type": "string", "minLength": 1, "maxLength": feedback.MAX_LABEL}),
            "correction": maybe({"type": "string", "minLength": 1, "maxLength": feedback.MAX_CORRECTION}),
            "comment": maybe({"type": "string", "minLength": 1, "maxLength": feedback.MAX_COMMENT}),
            "user": maybe({"type": "string", "minLength": 1, "maxLength": feedback.MAX_USER}),
        },
    ),
    "/v1/load_lora_adapter": obj(
        ("lora_name", "lora_path"),
        {
            "lora_name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"},
            "lora_path": {"type": "string", "minLength": 1, "maxLength": MAX_PATH},
        },
    ),
    "/v1/unload_lora_adapter": obj(("lora_name",), {"lora_name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}}),
}
SHARED: dict[str, Schema] = {
    "Message": {"anyOf": [_SAYS, _ASSISTANT, _TOOL]},
    "Tool": _function("parameters", "object"),
    "Usage": _USAGE,
    "Error": obj(
        ("error",),
        {"error": obj(("message", "type", "param", "code"), {"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": TEXT})},
    ),
    "Completion": _answer(
        "text_completion",
        obj(
            ("index", "text", "finish_reason", "logprobs"),
            {
                "index": INTEGER,
                "text": TEXT,
                "finish_reason": _REASON,
                "logprobs": maybe(
                    obj(
                        ("tokens", "token_logprobs", "top_logprobs", "text_offset"),
                        {
                            "tokens": array(TEXT),
                            "token_logprobs": array(maybe(NUMBER)),
                            "top_logprobs": maybe(array(maybe({"type": "object", "additionalProperties": NUMBER}))),
                            "text_offset": array(INTEGER),
                        },
                    )
                ),
            },
        ),
    ),
    "ChatCompletion": _answer(
        "chat.completion",
        obj(
            ("index", "message", "finish_reason", "logprobs"),
            {
                "index": INTEGER,
                "message": obj(("role", "content"), {"role": {"const": "assistant"}, "content": maybe(TEXT)}, closed=False),
                "finish_reason": _REASON,
                "logprobs": maybe(obj((), {"content": maybe(array(obj(("token",), _TOKEN, closed=False)))}, closed=False)),
            },
            closed=False,
        ),
    ),
    "Classification": obj(
        ("id", "object", "model", "data", "usage"),
        {
            "id": TEXT,
            "object": {"const": "classification"},
            "model": TEXT,
            "data": array(
                obj(
                    ("index", "label", "score", "labels"),
                    {
                        "index": INTEGER,
                        "label": TEXT,
                        "score": NUMBER,
                        "labels": array(obj(("label", "score"), {"label": TEXT, "score": NUMBER})),
                    },
                )
            ),
            "usage": ref("Usage"),
        },
    ),
    "Embeddings": obj(
        ("object", "model", "data", "usage"),
        {
            "object": {"const": "list"},
            "model": TEXT,
            "data": array(
                obj(
                    ("object", "index", "embedding"),
                    {"object": {"const": "embedding"}, "index": INTEGER, "embedding": {"anyOf": [array(NUMBER), TEXT]}},
                )
            ),
            "usage": ref("Usage"),
        },
    ),
    "Feedback": obj(
        ("id", "object", "request"),
        {"id": TEXT, "object": {"const": "feedback"}, "request": TEXT, "score": maybe(NUMBER), "label": maybe(TEXT)},
    ),
    "Model": obj(
        ("id", "object", "created", "owned_by"),
        {"id": TEXT, "object": {"const": "model"}, "created": INTEGER, "owned_by": TEXT},
        closed=False,
    ),
    "Models": obj(("object", "data"), {"object": {"const": "list"}, "data": array(ref("Model"))}),
    "Health": obj(("status",), {"status": {"enum": ["ok", "draining", "broken"]}}, closed=False),
    "Adapter": obj(
        ("object", "id", "loaded", "adapters"),
        {"object": {"const": "adapter"}, "id": TEXT, "loaded": BOOLEAN, "adapters": array(TEXT)},
    ),
}
