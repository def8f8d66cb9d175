"""Sketches as bytes: one line of JSON that says what follows, then arrays, little-endian.

Whatever is wrong with the bytes is ArtifactCorrupt. Nothing in them is ever run, and nothing larger than the bytes themselves is allocated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.core.digests import canonical
from penstock.core.errors import ArtifactCorrupt

FORMAT, VERSION = "penstock-sketch", 1
MOST_HEADER = 1 << 20
TYPES = ("<i8", "<f8", "<f4", "<f2", "<u4")


@dataclass(frozen=True, slots=True)
class Packed:
    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def array(self, name: str, type_: str, dimensions: int = 1) -> np.ndarray:
        found = self.arrays.get(name)
        if found is None or found.dtype.str != type_ or found.ndim != dimensions:
            raise ArtifactCorrupt(f"a {self.kind} sketch has no array {name!r} of type {type_} in {dimensions} dimensions")
        return found

    def number(self, name: str, low: float = 0.0, high: float = math.inf) -> float:
        found = self.fields.get(name)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not low <= found <= high or not math.isfinite(found):
            raise ArtifactCorrupt(f"{name!r} of a {self.kind} sketch is {str(found)[:40]!r}; it is a number from {low:g} to {high:g}")
        return found

    def whole(self, name: str, low: int = 0, high: int = 1 << 62) -> int:
        found = self.number(name, low, high)
        if found != int(found):
            raise ArtifactCorrupt(f"{name!r} of a {self.kind} sketch is {found!r}; it is a whole number")
        return int(found)


def pack(kind: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Equal sketches give equal bytes. `arrays` are of TYPES, by name."""
    listed = [[name, array.dtype.str, list(array.shape)] for name, array in sorted(arrays.items())]
    header = {"format": FORMAT, "version": VERSION, "kind": kind, "fields": dict(fields), "arrays": listed}
    return canonical(header) + b"\n" + b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))


def unpack(data: bytes) -> Packed:
    """Raises ArtifactCorrupt."""
    end = data.find(b"\n", 0, MOST_HEADER)
    if end < 0:
        raise ArtifactCorrupt("these bytes are no sketch: they do not begin with a line that says what they are")
    try:
        header = json.loads(data[:end])
        if header["format"] != FORMAT:
            raise ArtifactCorrupt("these bytes are no sketch")
        if header["version"] != VERSION:
            raise ArtifactCorrupt(f"this sketch is of version {str(header['version'])[:20]!r}; this Penstock reads {VERSION}")
        kind, fields, listed = header["kind"], header["fields"], header["arrays"]
        if not isinstance(kind, str) or not isinstance(fields, dict):
            raise TypeError("kind or fields")
        return Packed(kind, fields, _arrays(data, end + 1, listed))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError, OverflowError) as error:
        raise ArtifactCorrupt(f"these bytes do not read as a sketch ({type(error).__name__})") from error


def _arrays(data: bytes, at: int, listed: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, type_, shape in listed:
        if type_ not in TYPES or not isinstance(name, str) or len(shape) > 2 or not all(type(n) is int and n >= 0 for n in shape):
            raise ArtifactCorrupt("an array of this sketch is of a kind that sketches do not have")
        size = math.prod(shape) * np.dtype(type_).itemsize
        if at + size > len(data):
            raise ArtifactCorrupt("this sketch ends before its arrays do")
        found[name] = np.frombuffer(data, type_, math.prod(shape), at).reshape(shape)
        at += size
    if at != len(data):
        raise ArtifactCorrupt("this sketch goes on after its arrays")
    return found


def checked_counts(counts: np.ndarray, what: str) -> np.ndarray:
    if counts.size and not (np.isfinite(counts).all() and counts.min() >= 0):
        raise ArtifactCorrupt(f"a {what} sketch holds a count that is below 0 or no number")
    return counts
