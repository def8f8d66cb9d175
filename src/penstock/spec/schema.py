"""The JSON Schema (draft 2020-12) of the pipeline file, for editors: the types of spec/pipeline.py, and the short forms beside them.

Not covered, because a schema cannot say it: references among the parts, files and functions that are not there, gates (`penstock check`).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from penstock.spec.deploy import Deploy, Guardrail
from penstock.spec.monitor import Capture, Monitor, Screen
from penstock.spec.pipeline import CleanRule, Method, OptimizeRule, Pipeline, Source
from penstock.spec.platforms.accelerators import Gpu
from penstock.spec.platforms.kubernetes import Autoscale
from penstock.spec.react import Email, Pagerduty, Reaction, Webhook
from penstock.spec.strategy import Strategy

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE: Schema = {
    "type": "string",
    "pattern": r"\$\{(env|secret):",
    "description": "${env:NAME}, ${env:NAME:-default} or ${secret:NAME}",
}

# Records of which exactly one key is given; the key alone stands for the map. Of some keys a value that stands for a record.
_ONE_OF: dict[type[BaseModel], dict[str, Schema]] = {
    CleanRule: {"dedup": {"enum": ["exact", True]}, "decontaminate": {"const": "test"}},
    Method: {},
    OptimizeRule: {"quantize": {"enum": ["int8"]}},
    Guardrail: {
        "personal_data": {"enum": ["block", "mask", "flag"]},
        "injection": {"enum": ["block", "flag"]},
        "toxicity": {"enum": ["block", "flag"]},
    },
}
# Lists that one item may stand for, and records that a plain value may.
_LISTS: dict[type[BaseModel], str] = {Deploy: "rollback_when", Reaction: "do", Email: "to", Monitor: "slices"}
_PLAIN: dict[type[BaseModel], Schema] = {
    Capture: {"const": True},
    Strategy: {"enum": ["rolling", "blue_green", "canary"]},
    Screen: {"enum": ["toxicity", "injection", "personal_data"]},
    Webhook: {"type": "string"},
    Pagerduty: {"type": "string"},
    Gpu: {"type": ["string", "integer"]},
    Autoscale: {"enum": ["penstock", "hpa", "keda"]},
}


def json_schema(file: type[Pipeline] = Pipeline) -> Schema:
    """A new dict each time; what `penstock check` accepts by shape, this accepts."""
    made: Schema = file.model_json_schema(mode="validation", by_alias=True, schema_generator=_Generator)
    records: dict[str, Schema] = made.pop("$defs")
    properties = made["properties"]
    properties["gates"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": "conditions a version must pass",
    }
    made["anyOf"] = [{"required": ["data"]}, {"required": ["steps"]}]
    made["dependentRequired"] = {
        "data": ["task"],
        "train": ["data"],
        **{late: ["train"] for late in ("optimize", "evaluate", "gates", "deploy")},
        **{late: ["deploy"] for late in ("alerts", "react")},
    }
    made["$defs"] = {**{name: _open_to_references(record) for name, record in records.items()}, "Reference": REFERENCE}
    made = _open_to_references(made, inside=("properties",))
    return {"$schema": DIALECT, "$id": "urn:penstock:schema:pipeline", **made, "title": "Penstock pipeline"}


class _Generator(GenerateJsonSchema):
    """Adds short forms to a record by its class: its name in the schema is longer where two classes have one name."""

    def model_schema(self, schema: Any) -> Schema:
        made, kind = super().model_schema(schema), schema["cls"]
        if kind in _ONE_OF:
            return _one_of(made, _ONE_OF[kind])
        if kind in _LISTS:
            listed = made["properties"][_LISTS[kind]]
            made["properties"][_LISTS[kind]] = {"anyOf": [listed["items"], listed]}
        if kind is Source:
            made["oneOf"] = [{"required": ["uri"]}, {"required": ["dataset"]}]
        return {"anyOf": [_PLAIN[kind], made]} if kind in _PLAIN else made


def _one_of(record: Schema, short: dict[str, Schema]) -> Schema:
    for key, value in record["properties"].items():
        options = [option for option in value["anyOf"] if option != {"type": "null"}]
        options += [short[key]] if key in short else []
        record["properties"][key] = options[0] if len(options) == 1 else {"anyOf": options}
    record["minProperties"] = record["maxProperties"] = 1
    description = record.pop("description", "")
    return {"anyOf": [{"enum": list(record["properties"])}, record], "description": description}


def _open_to_references(schema: Any, inside: tuple[str, ...] = ()) -> Any:
    """The schema without generated titles, where each plain value may also be a reference."""
    if isinstance(schema, list):
        return [_open_to_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if inside:
        return {k: _properties(v) if k in inside else v for k, v in schema.items()}
    opened = {k: v for k, v in schema.items() if k != "title" or not isinstance(v, str)}
    if _is_plain(opened):
        outer = {k: opened.pop(k) for k in ("description", "default") if k in opened}
        return {**outer, "anyOf": [opened, {"$ref": "#/$defs/Reference"}]}
    nested = ("anyOf", "oneOf", "items", "additionalProperties", "prefixItems")
    return {k: _properties(v) if k == "properties" else _open_to_references(v) if k in nested else v for k, v in opened.items()}


def _properties(properties: Schema) -> Schema:
    return {name: _open_to_references(value) for name, value in properties.items()}


def _is_plain(schema: Schema) -> bool:
    """Something narrower than free text: a number, a truth value, a choice, text of a pattern."""
    return schema.get("type") in ("integer", "number", "boolean") or "enum" in schema or "const" in schema or "pattern" in schema
