"""What a record tells of a request and its answer beside counts and times: the best label, fields of the client's metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

LONGEST_BODY, LONGEST_VALUE = 64 << 10, 256  # bytes of an answer that is looked into, characters of a value
Best = tuple[str | None, float | None]
NOTHING: Best = (None, None)


def best_of(body: bytes) -> Best:
    """The best label of a classification of one text, and its score; of several texts there is no one label."""
    if len(body) > LONGEST_BODY:
        return NOTHING
    try:
        (row,) = orjson.loads(body)["data"]
        label, score = row["label"], row["score"]
    except (ValueError, KeyError, TypeError):  # JSONDecodeError is a ValueError; so is more than one row
        return NOTHING
    return (label, float(score)) if isinstance(label, str) and isinstance(score, (int, float)) else NOTHING


def metadata_of(value: Mapping[str, Any], fields: Sequence[str]) -> dict[str, str | float] | None:
    """Those of `fields` that the body's `metadata` has as a string (cut), a number or a boolean (as "true", "false"); None without any."""
    given = value.get("metadata")
    if not isinstance(given, dict):
        return None
    found: dict[str, str | float] = {}
    for name in fields:
        one = given.get(name)
        if isinstance(one, bool):
            found[name] = "true" if one else "false"
        elif isinstance(one, (int, float)):
            found[name] = one
        elif isinstance(one, str):
            found[name] = one[:LONGEST_VALUE].encode("utf-8", "replace").decode()
    return found or None


def may_train(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the client lets its request be trained on: unless it says `x-penstock-training: no`."""
    said = headers.get(b"x-penstock-training")
    return said is None or said.strip().lower() not in (b"no", b"false", b"0", b"off")
