"""The shape of objects: built-in kinds by their published schemas (kubernetes-validate, strict), custom kinds by their CRDs made closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from penstock.testing.emulators.kubernetes.kinds import Kind
from penstock.testing.emulators.kubernetes.refusals import Refusal, invalid, malformed

VERSION = "1.37.0"
MONITORING = Path(__file__).with_name("monitoring")  # CRDs of prometheus-operator, as far as Penstock uses them


class Schemas:
    """`crds`: a folder of CustomResourceDefinitions; None: the cluster has no custom kinds."""

    def __init__(self, crds: Path | None = None) -> None:
        self.custom: dict[Kind, dict[str, Any]] = {}
        for file in sorted(crds.glob("*.yaml")) if crds is not None else ():
            for kind, schema in _definitions(file):
                self.custom[kind] = schema
        self._validators: dict[Kind, Any] = {}

    def check(self, kind: Kind, value: Any) -> None:
        """Raises Refusal: 400 for a field that is not known, 422 for one that is wrong or missing."""
        if not isinstance(value, dict) or (value.get("apiVersion"), value.get("kind")) != (kind.api_version, kind.name):
            seen = f"{value.get('apiVersion')}, Kind={value.get('kind')}" if isinstance(value, dict) else "no object"
            raise malformed(f"the object provided is unrecognized: {seen}; expected {kind.api_version}, Kind={kind.name}")
        if kind not in self._validators:
            self._validators[kind] = Draft202012Validator(self.custom[kind]) if kind.custom else _published(kind)
        problem = best_match(self._validators[kind].iter_errors(value))
        if problem is None:
            return
        message, field = problem.message, ".".join(str(part) for part in problem.absolute_path)
        if "Additional properties are not allowed" in message or "Unevaluated properties" in message:
            raise _unknown(message, field)
        raise invalid(kind, str((value.get("metadata") or {}).get("name", "")), field or "object", message)


def _published(kind: Kind) -> Draft202012Validator:
    """By the strict schemas that kubernetes-validate carries, which would read them anew for each object."""
    group, _, version = kind.api_version.rpartition("/")
    names = ("-".join(filter(None, (kind.name.lower(), group.partition(".")[0], version))), "_definitions")
    schema, definitions = (schema_contents(f"kubernetes-json-schema/v{VERSION}-local-strict/{name}.json", VERSION) for name in names)
    registry: Registry[Any] = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    return Draft202012Validator(schema, registry=registry)


def _unknown(message: str, field: str) -> Refusal:
    name = message.split("'")[1] if "'" in message else message
    return malformed(f'strict decoding error: unknown field "{field + "." if field else ""}{name}"')


def _definitions(file: Path) -> list[tuple[Kind, dict[str, Any]]]:
    import yaml  # comes with the kubernetes client; in C it reads the larger CRDs in a second

    found = []
    for document in yaml.load_all(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if not document or document.get("kind") != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            if not version.get("served"):
                continue
            kind = Kind(
                spec["group"],
                version["name"],
                spec["names"]["plural"],
                spec["names"]["kind"],
                spec["scope"] == "Namespaced",
                ("status",),
                custom=True,
            )
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            found.append((kind, schema))
    return found


def closed(schema: Any) -> Any:
    """As JSON Schema, with unknown fields refused where a structural schema would drop them."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-") and k not in ("nullable", "format", "description")}
    if schema.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
        made.pop("anyOf", None)
        return {**made, "type": ["integer", "string"]}
    for key in ("properties",):
        if key in made:
            made[key] = {name: closed(value) for name, value in made[key].items()}
    for key in ("items", "additionalProperties", "anyOf", "allOf", "oneOf", "not"):
        if key in made:
            made[key] = closed(made[key])
    open_ = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if "properties" in made and "additionalProperties" not in made and not open_ and made.get("type") == "object":
        made["additionalProperties"] = False
    if schema.get("nullable") and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made
