"""A reference in a folder: `reference.json`, and a file a sketch. Whatever is wrong there is ArtifactCorrupt or ArtifactMissing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.core.digests import canonical
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, PenstockError
from penstock.monitoring.drift.standard import Asked, Part, Reference, Standard
from penstock.monitoring.drift.table import DETECTORS, decode

SCHEMA, NAME, SKETCHES = 1, "reference.json", "sketches"
MOST_BYTES = 64 << 20  # of a sketch


def described(reference: Reference) -> tuple[dict[str, Any], dict[str, bytes]]:
    """JSON values, and the bytes of each sketch by its file's name."""
    sketches: dict[str, bytes] = {}
    listed = {}
    for signal, standard in sorted(reference.standards.items()):
        parts = []
        for part in standard.parts:
            file = f"{signal.removeprefix('drift.')}.{part.sketch.kind}.sketch"
            sketches[file] = part.sketch.encode()
            parts.append({"detector": part.detector, "sketch": file, "limit": part.limit})
        listed[signal] = {**asdict(standard.asked), "rows": standard.rows, "parts": parts}
    scales = {summary: dict(groups) for summary, groups in reference.scales.items()}
    return {"schema": SCHEMA, "about": dict(reference.about), "signals": listed, "scales": scales}, sketches


def write_reference(folder: Path, reference: Reference) -> None:
    value, sketches = described(reference)
    (folder / SKETCHES).mkdir(parents=True, exist_ok=True)
    for name, data in sketches.items():
        (folder / SKETCHES / name).write_bytes(data)
    (folder / NAME).write_bytes(canonical(value) + b"\n")


def read_reference(folder: Path) -> Reference:
    """Raises ArtifactMissing, ArtifactCorrupt."""
    path = folder / NAME
    if not path.is_file():
        raise ArtifactMissing(f"{folder} holds no {NAME}, so it is no drift reference")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ArtifactCorrupt(f"{path} does not read as JSON ({error})") from error
    return parsed(value, lambda name: _bytes(folder / SKETCHES / name))


def parsed(value: Any, sketch: Any) -> Reference:
    """The reference of what `described` gave; `sketch(name)` gives the bytes of a file. Raises ArtifactCorrupt."""
    try:
        if value["schema"] != SCHEMA:
            raise ArtifactCorrupt(f"this drift reference has schema {value['schema']!r}; this Penstock reads {SCHEMA}")
        read: dict[str, Any] = {}
        standards = {signal: _standard(signal, told, sketch, read) for signal, told in value["signals"].items()}
        scales = {str(s): {str(g): _positive(c) for g, c in found.items()} for s, found in value["scales"].items()}
        about = value["about"]
    except PenstockError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactCorrupt(f"a drift reference does not read ({type(error).__name__}: {error})") from error
    if not isinstance(about, dict):
        raise ArtifactCorrupt("a drift reference does not say what it was made of")
    return Reference(standards, scales, about)


def _standard(signal: str, told: Mapping[str, Any], sketch: Any, read: dict[str, Any]) -> Standard:
    limit = told["limit"]
    asked = Asked(told["signal"], int(told["window"]), float(told["false_alarms"]), None if limit is None else float(limit))
    parts = []
    for part in told["parts"]:
        name, kinds = part["sketch"], DETECTORS.load(part["detector"]).kinds
        if not isinstance(name, str) or "/" in name or "\\" in name or name.startswith("."):
            raise ArtifactCorrupt(f"{str(name)[:60]!r} is no name of a sketch's file")
        found = read[name] = read.get(name) or decode(sketch(name))
        if found.kind not in kinds:
            raise ArtifactCorrupt(f"{signal}: {part['detector']} compares {' or '.join(kinds)}, not {found.kind}")
        parts.append(Part(part["detector"], found, _positive(part["limit"])))
    if asked.signal != signal or asked.window < 1 or not parts:
        raise ArtifactCorrupt(f"{signal} of a drift reference has no window or no detector")
    return Standard(asked, tuple(parts), _positive(told["rows"]))


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ArtifactCorrupt(f"{str(value)[:40]!r} stands in a drift reference where a number above 0 belongs")
    return float(value)


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ArtifactCorrupt(f"{path} is larger than a sketch can be")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{path} is missing from a drift reference") from error
