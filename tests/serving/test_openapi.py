"""The OpenAPI document is valid, says what the parsers do, and what it promises holds when schemathesis tries to break it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from penstock.serving import params
from penstock.serving.adapters import LOAD, UNLOAD
from penstock.serving.errors import RequestRefused
from penstock.serving.openapi import ROUTES, document
from penstock.serving.params import PARSERS
from penstock.serving.sampling import IGNORED, MAX_TOKENS, NEUTRAL
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage

FIELDS = {
    "/v1/classify": params.CLASSIFY,
    "/v1/embeddings": params.EMBED,
    "/v1/completions": params.COMPLETE,
    "/v1/chat/completions": params.CHAT,
}
MODELS = {"/v1/classify": "intents", "/v1/embeddings": "vectors"}


def refusal_of_what_does_not_fit(ctx: Any, response: Any, case: Any) -> bool | None:
    """What schemathesis holds, which does not know that a list may be so long that its size is refused before its length."""
    return None if response.status_code == 413 else checks.negative_data_rejection(ctx, response, case)


CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    refusal_of_what_does_not_fit,
    checks.allow_header_conformance,
]


@pytest.mark.parametrize("face", ["gateway", "replica"])
def test_the_document_is_valid(face: Any) -> None:
    validate(document(face))


def test_the_routes_are_the_ones_that_are_served() -> None:
    assert set(FIELDS) == set(PARSERS)
    for face in ("gateway", "replica"):
        assert set(PARSERS) <= set(document(face)["paths"])
    assert {route.path for route in ROUTES if "gateway" not in route.faces} == {LOAD, UNLOAD}


@pytest.mark.parametrize("path", sorted(PARSERS))
def test_request_schemas_name_the_fields_that_the_parsers_take(path: str) -> None:
    schema = document("gateway")["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == FIELDS[path] | IGNORED | set(NEUTRAL)
    assert schema["additionalProperties"] is False


SOUND: dict[str, dict[str, Any]] = {
    "/v1/classify": {"input": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/completions": {"prompt": "x"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
}
CALL = {"id": "1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
NOTHINGS: list[Any] = [None, [], {}, "", 0, False]
EDGES = [*NOTHINGS, True, "x", -1, 1, 1.5, [None], [[]], [""], ["x"], [0], [[0]], [{}], {"": None}, [CALL], [{"type": "text", "text": "t"}]]
TOGETHER = [("max_tokens", 0), ("top_logprobs", 1)]  # fit by themselves; refused because of what another field says


def disagrees(path: str, fields: dict[str, Any]) -> str | None:
    """What the schema and the parser say of a body, when it is not the same."""
    schema = document("gateway")["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fits = Draft202012Validator({**schema, "components": document("gateway")["components"]}).is_valid({"model": "m", **fields})
    try:
        PARSERS[path]({"model": "m", **fields})
    except RequestRefused as refused:
        return f"fits, but: {refused.message}" if fits else None
    return None if fits else f"taken, but does not fit: {fields}"


@pytest.mark.parametrize("path", sorted(PARSERS))
def test_a_field_of_any_kind_is_taken_where_the_schema_takes_it(path: str) -> None:
    for name in sorted(FIELDS[path] | IGNORED | set(NEUTRAL)):
        for value in EDGES:
            if (name, value) not in TOGETHER and name != "model":  # the gateway looks at the model's name, not the parser
                assert disagrees(path, {**SOUND[path], name: value}) is None


@pytest.mark.parametrize("role", ["user", "assistant", "tool", "x", None])
def test_a_message_of_any_kind_is_taken_where_the_schema_takes_it(role: str | None) -> None:
    for calls in EDGES:
        for content in (None, "", "x", [], [{"type": "text", "text": "t"}], 0, "absent"):
            for answers in (None, "", "x", 0, "absent"):
                fields = {"role": role, "tool_calls": calls, "content": content, "tool_call_id": answers}
                message = {name: value for name, value in fields.items() if value != "absent"}
                assert disagrees("/v1/chat/completions", {"messages": [message]}) is None


def test_messages_that_call_nothing_are_taken(gateway: RunningGateway) -> None:
    """The body that random ones found: it was answered, and the document did not allow it."""
    messages = [
        {"": None, "content": "7\u00fbE", "role": "user", "tool_calls": []},
        {"": "", "content": "", "role": "user", "tool_calls": []},
    ]
    body = {"messages": messages, "model": "echo", "best_of": None, "logit_bias": None, "user": [], "verbosity": None}
    schema = described()["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document("gateway")["components"]}).validate(body)
    headers = {"authorization": f"Bearer {SECRET}"}

    def status(calls: Any) -> int:
        given = {**body, "max_tokens": 1, "messages": [{**messages[0], "tool_calls": calls}]}
        return httpx.post(f"{gateway.url}/v1/chat/completions", json=given, headers=headers, **PLAIN).status_code

    assert [status(calls) for calls in NOTHINGS] == [200, 200, 400, 400, 400, 400]


def test_too_many_messages_are_refused_by_their_number_or_by_their_size(gateway: RunningGateway) -> None:
    """The second body that random ones found: over 4,096 messages in 2 MB."""
    headers = {"authorization": f"Bearer {SECRET}"}

    def answer(*content: str) -> httpx.Response:
        body = {"model": "echo", "max_tokens": 1, "messages": [{"role": "user", "content": text} for text in content]}
        return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, **PLAIN)

    few, many, large = answer(*["a"] * 4096), answer(*["a"] * 4097), answer(*["a" * 500] * 4097)
    assert (few.status_code, many.status_code, many.json()["error"]["param"]) == (200, 400, "messages")
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")


def test_a_replica_gives_its_document(stage: Stage) -> None:
    replica = stage.replica("r")
    given = httpx.get(f"http://127.0.0.1:{replica.route.port}/openapi.json", **PLAIN).json()
    assert given == document("replica")


def described() -> dict[str, Any]:
    """The gateway's document with the models' names that are there, so that some requests go through."""
    found = document("gateway")
    for path in PARSERS:
        schema = found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        schema["properties"]["model"] = {"enum": [MODELS.get(path, "echo"), "nobody"]}
    return found


API = schemathesis.openapi.from_dict(described())
QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large, HealthCheck.large_base_example]
OPERATIONS = [(route.path, route.method) for route in ROUTES if "gateway" in route.faces]


def hold(gateway: RunningGateway, path: str, method: str, mode: GenerationMode, examples: int) -> None:
    @given(case=API[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=examples, suppress_health_check=QUIET)
    def holds(case: Any) -> None:
        for name in ("max_tokens", "max_completion_tokens"):  # answers of a million tokens are right, and slow
            if isinstance(case.body, dict) and isinstance(case.body.get(name), int) and 64 < case.body[name] <= MAX_TOKENS:
                case.body[name] = 64
        case.call_and_validate(base_url=gateway.url, session=session, checks=CHECKS, timeout=20)

    with requests.Session() as session:
        session.trust_env = False
        session.headers["authorization"] = f"Bearer {SECRET}"
        holds()


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_what_fits_the_document_meets_no_error_of_ours_and_no_unheard_status(gateway: RunningGateway, path: str, method: str) -> None:
    hold(gateway, path, method, GenerationMode.POSITIVE, 20)


@pytest.mark.parametrize(("path", "method"), [o for o in OPERATIONS if o[1] == "post" or "{" in o[0]])
def test_what_does_not_fit_the_document_is_refused_and_described(gateway: RunningGateway, path: str, method: str) -> None:
    hold(gateway, path, method, GenerationMode.NEGATIVE, 20)


@pytest.mark.thorough
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), [o for o in OPERATIONS if o[1] == "post"])
def test_the_same_at_length(gateway: RunningGateway, path: str, method: str, mode: GenerationMode) -> None:
    hold(gateway, path, method, mode, 500)
