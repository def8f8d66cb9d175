"""The shape of objects: built-in kinds by their published schemas (kubernetes-validate, strict), custom kinds by their CRDs made closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.testing.emulators.kubernetes.kinds import Kind
from penstock.testing.emulators.kubernetes.refusals import Refusal, invalid, malformed

VERSION = "1.37"
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
        problem = self._built_in(value) if not kind.custom else self._of_crd(kind, value)
        if problem is None:
            return
        path, message = problem
        field = ".".join(str(part) for part in path)
        if "Additional properties are not allowed" in message or "Unevaluated properties" in message:
            raise _unknown(message, field)
        raise invalid(kind, str((value.get("metadata") or {}).get("name", "")), field or "object", message)

    def _built_in(self, value: dict[str, Any]) -> tuple[list[Any], str] | None:
        import kubernetes_validate

        try:
            kubernetes_validate.validate(value, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            return list(error.path), error.message
        return None

    def _of_crd(self, kind: Kind, value: dict[str, Any]) -> tuple[list[Any], str] | None:
        import jsonschema

        validator = self._validators.get(kind)
        if validator is None:
            validator = self._validators[kind] = jsonschema.Draft202012Validator(self.custom[kind])
        found = next(validator.iter_errors(value), None)
        return None if found is None else (list(found.absolute_path), found.message)


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
