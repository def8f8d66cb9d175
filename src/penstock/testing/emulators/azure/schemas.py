"""Bodies by the published ARM schema of Microsoft.MachineLearningServices, made strict: unknown fields are refused, and of a union just one
member is held against the value, by its discriminator.

The file is not part of Penstock: Microsoft publishes it in Azure/azure-resource-manager-schemas.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penstock.testing.emulators.azure.errors import ArmError, invalid

API_VERSION = "2026-05-01"
NAME = f"Microsoft.MachineLearningServices.{API_VERSION}.json"
_IN_THE_URL = ("apiVersion", "name", "type", "resources")  # of a template's resource; a request says them by its address


class Schemas:
    """`folder` holds the file; None: bodies are only held to what the emulator itself reads."""

    def __init__(self, folder: Path | None) -> None:
        self._document: dict[str, Any] = json.loads((folder / NAME).read_bytes()) if folder is not None else {}
        self._definitions = {name: strict(value, self._document) for name, value in self._document.get("definitions", {}).items()}
        self._validators: dict[str, Any] = {}

    def check(self, kind: str, body: Any) -> None:
        """`kind`: as the schema names the resource, such as "workspaces_jobs". Raises ArmError 400 with where it is wrong and why."""
        if not isinstance(body, dict):
            raise ArmError(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
        if not self._document:
            return
        found = next(self._validator(kind).iter_errors(body), None)
        if found is not None:
            where = ".".join(str(part) for part in found.absolute_path) or "body"
            raise invalid(f"The request is invalid at '{where}': {found.message[:500]}")

    def _validator(self, kind: str) -> Any:
        if kind not in self._validators:
            import jsonschema

            resource = self._document["resourceDefinitions"][kind]
            shown = strict({**resource, "properties": {k: v for k, v in resource["properties"].items() if k not in _IN_THE_URL}})
            shown["required"] = [name for name in resource.get("required", ()) if name not in _IN_THE_URL]
            self._validators[kind] = jsonschema.Draft202012Validator({**shown, "definitions": self._definitions})
        return self._validators[kind]


def strict(schema: Any, document: dict[str, Any] | None = None) -> Any:
    """As JSON Schema without template expressions, objects closed, discriminated unions as a chain of conditions."""
    if isinstance(schema, list):
        return [strict(item, document) for item in schema]
    if not isinstance(schema, dict):
        return schema
    union = schema.get("oneOf", ())
    if any(str(row.get("$ref", "")).endswith("#/definitions/expression") for row in union):
        return strict({**{k: v for k, v in schema.items() if k != "oneOf"}, **_plain(union)}, document)
    if document is not None and _is_discriminated(schema):
        return _chained(schema, document)
    made = {key: strict(value, document) for key, value in schema.items() if key not in ("description", "properties")}
    if "properties" in schema:
        made["properties"] = {name: strict(value, document) for name, value in schema["properties"].items()}
        if schema.get("type") == "object":
            made.setdefault("additionalProperties", False)
    return made


def _plain(union: list[dict[str, Any]]) -> dict[str, Any]:
    """What is left of a union once a template's expressions are no member of it."""
    rest = [row for row in union if not str(row.get("$ref", "")).endswith("#/definitions/expression")]
    return rest[0] if len(rest) == 1 else {"oneOf": rest}


def _is_discriminated(schema: dict[str, Any]) -> bool:
    parts = schema.get("allOf", ())
    return len(parts) == 2 and "properties" in parts[0] and "oneOf" in parts[1]


def _chained(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    base, members = schema["allOf"][0], schema["allOf"][1]["oneOf"]
    conditions = []
    for member in members:
        reference, told = member["allOf"]
        own = document["definitions"][reference["$ref"].rpartition("/")[2]]
        (key,) = told["required"]
        merged = {
            "type": "object",
            "properties": {**own.get("properties", {}), **base["properties"]},
            "required": sorted({*own.get("required", ()), *base.get("required", ())}),
        }
        holds = {"properties": {key: told["properties"][key]}, "required": [key]}
        conditions.append({"if": holds, "then": strict(merged, document)})
    return {
        "type": "object",
        "properties": {key: strict(value) for key, value in base["properties"].items()},
        "required": base.get("required", []),
        "allOf": conditions,
    }
