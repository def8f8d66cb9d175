"""The key of a build: the digest of everything that its output follows from; and why two keys differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.control.graph import Node
from penstock.core.digests import digest_json
from penstock.stages.table import VERSIONS


def key_parts(node: Node, inputs: Mapping[str, str]) -> dict[str, Any]:
    """The parts of a step's key. `inputs` maps each input's name to the digest of the artifact bound to it."""
    return {
        "stage": node.stage,
        "stage_version": VERSIONS[node.stage],
        "config": node.config,
        "inputs": dict(inputs),
        "environment": list(node.environment),
    }


def step_key(parts: Mapping[str, Any]) -> str:
    return digest_json(parts)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What changed from `old` to `new` parts, one sentence each; empty when equal."""
    return list(_walk(dict(old), dict(new), ""))


def _walk(old: Any, new: Any, path: str) -> list[str]:
    if old == new:
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        found = []
        for key in sorted({*old, *new}):
            below = f"{path}.{key}" if path else str(key)
            if key not in old:
                found.append(_say(below, "added", None, new[key]))
            elif key not in new:
                found.append(_say(below, "removed", old[key], None))
            else:
                found.extend(_walk(old[key], new[key], below))
        return found
    if isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        return [line for i, (a, b) in enumerate(zip(old, new, strict=True)) for line in _walk(a, b, f"{path}[{i}]")]
    return [_say(path, "changed", old, new)]


def _say(path: str, verb: str, old: Any, new: Any) -> str:
    if path.startswith("config.code."):
        return f"code {path.removeprefix('config.code.')} {verb}"
    if path.startswith("inputs."):
        return f"input {path.removeprefix('inputs.')} {verb}"
    if path == "stage_version":
        return f"the stage itself changed (version {old} → {new})"
    if path.endswith(".digest"):
        return f"{path.removeprefix('config.').removesuffix('.digest')}: content {verb}"
    if path.startswith("environment"):
        return f"environment {verb}: {_short(old)} → {_short(new)}"
    return f"{_in_the_file(path)} {verb}: {_short(old)} → {_short(new)}"


def _in_the_file(path: str) -> str:
    """The key as people write it: what the record of a user step calls `values` stands under `with:`."""
    name = path.removeprefix("config.")
    return f"with{name.removeprefix('values')}" if name.split(".")[0] == "values" else name


def _short(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
