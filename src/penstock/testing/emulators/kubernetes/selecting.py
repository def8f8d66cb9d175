"""Label and field selectors, as the API writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.testing.emulators.kubernetes.refusals import malformed

_SET = re.compile(r"^\s*([^\s!=,()]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
_EQUAL = re.compile(r"^\s*([^\s!=,()]+)\s*(==|=|!=)\s*([^\s!=,()]*)\s*$")
_THERE = re.compile(r"^\s*(!?)([^\s!=,()]+)\s*$")


def labelled(labels: Mapping[str, str], selector: str) -> bool:
    """Raises Refusal for a selector that cannot be read."""
    return all(_holds(labels, part) for part in re.split(r",(?![^(]*\))", selector) if part.strip())


def _holds(labels: Mapping[str, str], part: str) -> bool:
    if found := _SET.match(part):
        values = {value.strip() for value in found[3].split(",")}
        return (labels.get(found[1]) in values) == (found[2] == "in")
    if found := _EQUAL.match(part):
        return (labels.get(found[1]) == found[3]) == (found[2] != "!=")
    if found := _THERE.match(part):
        return (found[2] in labels) != bool(found[1])
    raise malformed(f"unable to parse requirement: {part!r}")


def matches(labels: Mapping[str, str], selector: Mapping[str, Any]) -> bool:
    """A LabelSelector of an object's spec; the empty one selects everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or ():
        value, values = labels.get(rule["key"]), rule.get("values") or []
        held = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[rule["operator"]]
        if not held:
            return False
    return True


def fielded(value: Mapping[str, Any], selector: str) -> bool:
    """`metadata.name=x,status.phase!=Running`."""
    for part in filter(None, selector.split(",")):
        found = _EQUAL.match(part)
        if found is None:
            raise malformed(f"invalid field selector: {part!r}")
        seen: Any = value
        for key in found[1].split("."):
            seen = (seen or {}).get(key)
        if (str(seen or "") == found[3]) == (found[2] == "!="):
            return False
    return True
