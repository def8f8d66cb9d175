"""The OpenAPI document is valid, says what the parsers do, and what it promises holds when schemathesis tries to break it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from penstock.serving import params
from penstock.serving.adapters import LOAD, UNLOAD
from penstock.serving.openapi import ROUTES, document
from penstock.serving.params import PARSERS
from penstock.serving.sampling import IGNORED, MAX_TOKENS, NEUTRAL
from penstock.testing.serving import SECRET, RunningGateway, Stage

FIELDS = {
    "/v1/classify": params.CLASSIFY,
    "/v1/embeddings": params.EMBED,
    "/v1/completions": params.COMPLETE,
    "/v1/chat/completions": params.CHAT,
}
MODELS = {"/v1/classify": "intents", "/v1/embeddings": "vectors"}
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
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


def test_a_replica_gives_its_document(stage: Stage) -> None:
    replica = stage.replica("r")
    given = httpx.get(f"http://127.0.0.1:{replica.route.port}/openapi.json", trust_env=False).json()
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


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("path", "method"), [o for o in OPERATIONS if o[1] == "post"])
def test_the_same_at_length(gateway: RunningGateway, path: str, method: str, mode: GenerationMode) -> None:
    hold(gateway, path, method, mode, 500)
