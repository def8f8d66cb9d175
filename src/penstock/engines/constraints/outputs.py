"""A request's output format as the runtime's grammar."""

from __future__ import annotations

import json
from functools import lru_cache

from penstock.core.errors import BadInput
from penstock.engines.constraints.ebnf import from_ebnf
from penstock.engines.constraints.regex import from_regex
from penstock.engines.constraints.rules import Rules
from penstock.engines.constraints.schema import from_schema, json_object
from penstock.engines.contract import OutputFormat

LONGEST = 1 << 17  # characters of a schema as JSON


def grammar_of(output: OutputFormat) -> str:
    """The grammar of `output`. Raises BadInput with what is wrong in it, before any of it reaches the runtime."""
    try:
        value = json.dumps(output.value)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"the JSON schema is no JSON: {error}") from error
    if len(value) > LONGEST:
        raise BadInput(f"the output format has {len(value)} characters; at most {LONGEST} are taken")
    try:
        return _grammar(output.kind, value)
    except RecursionError as error:
        raise BadInput("the output format is nested too deep") from error


@lru_cache(maxsize=128)
def _grammar(kind: str, value: str) -> str:
    given = json.loads(value)
    if kind == "json":
        return json_object().text()
    if kind == "json_schema":
        return from_schema(given).text()
    if kind == "grammar":
        return from_ebnf(given).text()
    rules = Rules()
    rules.add("root", from_regex(given))
    return rules.text()
