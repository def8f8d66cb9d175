"""Whatever a decoder writes under a format has that format; what cannot be enforced is refused before it reaches the runtime."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from penstock.core.errors import BadInput
from penstock.engines.constraints.outputs import grammar_of
from penstock.engines.contract import Engine, GenerateRequest, OutputFormat
from penstock.engines.table import open_engine
from penstock.testing.engines import texts

pytestmark = pytest.mark.models

PERSON = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6, "description": "any"},
        "age": {"type": "integer", "minimum": 17, "exclusiveMaximum": 131},
        "code": {"type": "string", "pattern": "^[^a-z]{2}\\d+?-.$"},
        "tags": {"type": "array", "items": {"enum": ["a", 'q"uote', "é"]}, "minItems": 1, "maxItems": 3},
        "owner": {"anyOf": [{"$ref": "#/$defs/owner"}, {"type": "null"}]},
    },
    "required": ["name", "age", "code"],
    "additionalProperties": False,
    "$defs": {"owner": {"type": "object", "properties": {"score": {"type": ["number", "boolean"]}}}},
}
SCHEMAS: list[Any] = [
    PERSON,
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"type": "null"}, "c": {"type": "boolean"}}},
    {"type": "array", "prefixItems": [{"type": "integer", "minimum": -45, "maximum": 3}, {"const": {"x": [1.5, None]}}]},
    {"type": "array", "items": {"type": "integer", "minimum": 98, "maximum": 1205}, "minItems": 2, "maxItems": 2},
    {"allOf": [{"type": "string", "minLength": 2, "maxLength": 3}]},
    {"enum": ["x", 1, None], "type": ["string", "null"]},
    {"type": "integer", "maximum": -7},
]
EXPRESSIONS = [r"[A-Z][a-z]{2,5} \d{3}", r"^(yes|no|\.{3}|)!$", r"[^\d\n]{3}\D", r"(?:ab?)+?c{0,2}[\w.-]", r"\s\S\t[\]\\^-]", "é?日{2}🙂"]
GRAMMARS = {
    'root ::= greeting (", " name)+ mark # who\ngreeting ::= "hi" | "\\x48ello"\nname ::=\n  [A-C] [a-c]{1,3}\nmark ::= "!"?': (
        r"(hi|Hello)(, [A-C][a-c]{1,3})+!?"
    ),
    'root ::= root "+" [0-9] | [0-9]': r"\d(\+\d)*",
    'root ::= "\\"" [^"\\\\]{2} "\\u00e9" ["\\]]?': r'"[^"\\]{2}é["\]]?',
}


@pytest.fixture(scope="module")
def engine(decoder_bundle: Path) -> Iterator[Engine]:
    engine = open_engine(decoder_bundle)
    yield engine
    asyncio.run(engine.close())


def written(engine: Engine, output: OutputFormat, count: int = 6) -> list[str]:
    """What ended by itself of `count` answers, sampled and greedy; the others met the end of the context."""

    async def ask() -> list[str]:
        async def one(seed: int) -> str | None:
            heat = 0.0 if seed == 0 else 1.0
            request = GenerateRequest(prompt="B", max_tokens=250, temperature=heat, seed=seed, output=output)
            chunks = await texts(engine, request)
            return "".join(chunk.text for chunk in chunks) if chunks[-1].finish_reason == "stop" else None

        return [text for text in await asyncio.gather(*map(one, range(count))) if text is not None]

    found = asyncio.run(ask())
    assert found, "no answer ended by itself"
    return found


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: str(schema)[:40])
def test_answers_are_valid_under_the_schema(engine: Engine, schema: Any) -> None:
    for text in written(engine, OutputFormat("json_schema", schema)):
        jsonschema.validate(json.loads(text), schema)


def test_answers_are_json_objects(engine: Engine) -> None:
    assert all(isinstance(json.loads(text), dict) for text in written(engine, OutputFormat("json"), 16))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_answers_match_the_expression(engine: Engine, expression: str) -> None:
    for text in written(engine, OutputFormat("regex", expression)):
        assert re.fullmatch(expression, text)


@pytest.mark.parametrize("grammar", GRAMMARS)
def test_answers_follow_the_grammar(engine: Engine, grammar: str) -> None:
    for text in written(engine, OutputFormat("grammar", grammar)):
        assert re.fullmatch(GRAMMARS[grammar], text)


BAD: list[tuple[str, Any, str]] = [
    ("regex", "(unclosed", "does not read"),
    ("regex", r"(a)\1", "groupref"),
    ("regex", r"(?=a)b", "assert"),
    ("regex", r"(?i)abc", "flags"),
    ("regex", r"a\bb", "uses at"),
    ("regex", r"(a{1000}){1000}", "at most 20000"),
    ("regex", "(" * 1500 + ")" * 1500, "regular expression"),
    ("regex", r"[^\d\D]", "no character"),
    ("json_schema", {"type": "wizard"}, "wizard"),
    ("json_schema", {"type": "object", "properties": {"a": {"not": {}}}}, "#/properties/a"),
    ("json_schema", {"type": "string", "multipleOf": 2}, "multipleOf"),
    ("json_schema", {"type": "object", "properties": {}, "required": ["a"]}, "requires 'a'"),
    ("json_schema", {"$ref": "https://example.com/schema"}, "only places in itself"),
    ("json_schema", {"$ref": "#/$defs/none"}, "not there"),
    ("json_schema", {"$ref": "#"}, "only a reference"),
    ("json_schema", {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "never ends"),
    ("json_schema", {"type": "integer", "minimum": 5, "maximum": 4}, "no whole number"),
    ("json_schema", {"type": "integer", "minimum": 0.5}, "whole number"),
    ("json_schema", {"type": "array", "minItems": -1}, "minItems"),
    ("json_schema", {"enum": []}, "list of values"),
    ("json_schema", {"enum": ["a"], "type": "integer"}, "of its type"),
    ("json_schema", {"anyOf": "x"}, "list of"),
    ("json_schema", False, "nothing is valid"),
    ("grammar", "root := x", "line 1"),
    ("grammar", 'root ::= "a"\nx ::= y', "'y' is used"),
    ("grammar", 'start ::= "a"', "'root' is not there"),
    ("grammar", 'root ::= "a', "closing quote"),
    ("grammar", "root ::= root", "never ends"),
    ("grammar", 'root ::= "a" root', "never ends"),
    ("grammar", "root ::= [z-a]", "is empty"),
    ("grammar", 'root ::= "\\ud800"', "no character"),
    ("grammar", 'root ::= "a"\nroot ::= "b"', "twice"),
    ("grammar", "root ::= " + "(" * 100 + '"a"' + ")" * 100, "deep"),
]


@pytest.mark.parametrize(("kind", "value", "said"), BAD)
def test_what_cannot_be_enforced_is_refused(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(BadInput, match=re.escape(said)):
        grammar_of(OutputFormat(kind, value))


def test_a_deep_schema_is_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadInput):
        grammar_of(OutputFormat("json_schema", schema))


def test_a_refused_format_harms_nobody(engine: Engine) -> None:
    async def both() -> str:
        good = asyncio.ensure_future(texts(engine, GenerateRequest(prompt="The king", max_tokens=20, temperature=0)))
        with pytest.raises(BadInput):
            await texts(engine, GenerateRequest(prompt="The king", output=OutputFormat("regex", "(unclosed")))
        return "".join(chunk.text for chunk in await good)

    assert asyncio.run(both())
