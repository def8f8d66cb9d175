"""The state of drift as bytes: JSON, then the vectors of rows that wait in windows. Exact: a measure that took it back goes on the same."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from penstock.control.watch.drift.version import Version
from penstock.core.errors import PenstockError
from penstock.monitoring.drift.files import described, parsed
from penstock.stages.reference.features import Looked

SCHEMA = 1
_FIELDS = ("id", "text", "chars", "chars_out", "label", "confidence", "truth", "wrong", "metadata", "ended", "seen")


def dumped(asked: str, told: Mapping[str, Any], versions: Mapping[str, Version]) -> bytes:
    """`asked`: digest of what is declared, by which a state of something else is known. `told`: JSON values of the measure's own."""
    vectors: list[np.ndarray] = []
    value = {"schema": SCHEMA, "asked": asked, "told": dict(told), "versions": {n: _version(v, vectors) for n, v in versions.items()}}
    data = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    width = len(vectors[0]) if vectors else 0
    table = np.stack(vectors).astype("<f2").tobytes() if vectors else b""
    return len(data).to_bytes(8, "big") + width.to_bytes(8, "big") + data + table


def loaded(state: bytes, asked: str, versions: Mapping[str, Version]) -> dict[str, Any]:
    """Puts the state into fresh `versions` (those that serve; others are dropped), and gives what was `told`. Raises ValueError."""
    try:
        size, width = int.from_bytes(state[:8], "big"), int.from_bytes(state[8:16], "big")
        value = orjson.loads(state[16 : 16 + size])
        if value["schema"] != SCHEMA or value["asked"] != asked:
            raise ValueError("what is compared was declared otherwise when this state was written")
        table = np.frombuffer(state[16 + size :], "<f2").reshape(-1, width) if width else np.zeros((0, 0), np.float16)
        for name, told in value["versions"].items():
            if name in versions:
                _take_back(versions[name], told, table)
        return dict(value["told"])
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, PenstockError) as error:
        raise ValueError(f"this is no state of drift ({type(error).__name__}: {error})") from error


def _version(version: Version, vectors: list[np.ndarray]) -> dict[str, Any]:
    return {
        "flows": {name: _flow(flow, vectors) for name, flow in version.flows.items()},
        "budget": [version.budget.left, version.budget.at],
        "errors": version.errors.as_json() if version.errors is not None else None,
        "seen": version.seen,
        "last": version.last,
        "latest": version.latest,
        "known": list(version.known.values()),
    }


def _flow(flow: Any, vectors: list[np.ndarray]) -> dict[str, Any]:
    learnt = None
    if flow.learns and flow.reference is not None:
        value, sketches = described(flow.reference)
        learnt = {"value": value, "sketches": {name: base64.b64encode(data).decode() for name, data in sketches.items()}}
    return {"start": flow.start, "skipped": flow.skipped, "learnt": learnt, "rows": [_row(row, vectors) for row in flow.rows]}


def _row(row: Looked, vectors: list[np.ndarray]) -> list[Any]:
    place = None
    if row.vector is not None:
        place = len(vectors)
        vectors.append(row.vector)
    return [*(getattr(row, name) for name in _FIELDS), place]


def _take_back(version: Version, told: Mapping[str, Any], table: np.ndarray) -> None:
    from penstock.monitoring.drift.words import bucket

    for name, found in told["flows"].items():
        flow = version.flows[name]
        if found["learnt"] is not None and flow.learns:
            sketches = found["learnt"]["sketches"]
            flow.reference = parsed(found["learnt"]["value"], lambda key, all_=sketches: base64.b64decode(all_[key]))
        flow.start, flow.skipped = int(found["start"]), int(found["skipped"])
        flow.rows = [_looked(row, table) for row in found["rows"]]
    version.budget.left, version.budget.at = map(float, told["budget"])
    version.set_errors()
    if version.errors is not None and told["errors"] is not None:
        version.errors.take_back(told["errors"])
    version.seen, version.last = int(told["seen"]), float(told["last"])
    version.latest = {group: {s: (float(a), float(b), str(c)) for s, (a, b, c) in found.items()} for group, found in told["latest"].items()}
    version.known = {bucket(word): word for word in told["known"]}


def _looked(row: list[Any], table: np.ndarray) -> Looked:
    *values, place = row
    return Looked(**dict(zip(_FIELDS, values, strict=True)), vector=None if place is None else table[place])
