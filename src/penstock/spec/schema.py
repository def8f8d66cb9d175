"""The JSON Schema (draft 2020-12) of the pipeline file, for editors: the types of spec/pipeline.py, and the short forms beside them.

Not covered, because a schema cannot say it: references among the parts, files and functions that are not there, gates (`penstock check`).
"""

from __future__ import annotations

from typing import Any

from penstock.spec.pipeline import Pipeline

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REFERENCE: Schema = {
    "type": "string",
    "pattern": r"\$\{(env|secret):",
    "description": "${env:NAME}, ${env:NAME:-default} or ${secret:NAME}",
}

# Records of which exactly one key is given; the key alone stands for the map.
_ONE_OF = ("CleanRule", "Method", "OptimizeRule", "Guardrail")
# Lists that one item may stand for, and records that a plain value may.
_LISTS = (("Deploy", "rollback_when"), ("Reaction", "do"), ("Email", "to"), ("Monitor", "slices"))
_PLAIN: dict[str, Schema] = {
    "Capture": {"const": True},
    "Strategy": {"enum": ["rolling", "blue_green", "canary"]},
    "Screen": {"enum": ["toxicity", "injection", "personal_data"]},
    "Webhook": {"type": "string"},
    "Pagerduty": {"type": "string"},
    "Gpu": {"type": ["string", "integer"]},
    "Autoscale": {"enum": ["penstock", "hpa", "keda"]},
}
_SHORT_VALUES: dict[tuple[str, str], Schema] = {
    ("CleanRule", "dedup"): {"enum": ["exact", True]},
    ("CleanRule", "decontaminate"): {"const": "test"},
    ("OptimizeRule", "quantize"): {"enum": ["int8"]},
    ("Guardrail", "personal_data"): {"enum": ["block", "mask", "flag"]},
    ("Guardrail", "injection"): {"enum": ["block", "flag"]},
    ("Guardrail", "toxicity"): {"enum": ["block", "flag"]},
}


def json_schema() -> Schema:
    """A new dict each time; what `penstock check` accepts by shape, this accepts."""
    made: Schema = Pipeline.model_json_schema(mode="validation", by_alias=True)
    records: dict[str, Schema] = made.pop("$defs")
    for name in _ONE_OF:
        _one_of(records, name)
    for name, key in _LISTS:
        listed = records[name]["properties"][key]
        records[name]["properties"][key] = {"anyOf": [listed["items"], listed]}
    for name, plain in _PLAIN.items():
        records[name] = {"anyOf": [plain, records[name]]}
    records["Source"]["oneOf"] = [{"required": ["uri"]}, {"required": ["dataset"]}]
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


def _one_of(records: dict[str, Schema], name: str) -> None:
    record = records[name]
    for key, value in record["properties"].items():
        options = [option for option in value["anyOf"] if option != {"type": "null"}]
        if (name, key) in _SHORT_VALUES:
            options.append(_SHORT_VALUES[name, key])
        record["properties"][key] = options[0] if len(options) == 1 else {"anyOf": options}
    record["minProperties"] = record["maxProperties"] = 1
    description = record.pop("description", "")
    records[name] = {"anyOf": [{"enum": list(record["properties"])}, record], "description": description}


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
