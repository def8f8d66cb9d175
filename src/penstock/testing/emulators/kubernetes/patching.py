"""Patches: JSON merge patch (RFC 7386), and server-side apply as far as one manager with `force` needs it.

Not covered: JSON patch and strategic merge patch (both refused: 415), ownership of single list items.
"""

from __future__ import annotations

from typing import Any

from penstock.testing.emulators.kubernetes.refusals import Refusal

MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


def merged(value: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    made = dict(value) if isinstance(value, dict) else {}
    for key, part in patch.items():
        if part is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), part)
    return made


def applied(value: dict[str, Any], wish: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """`value` with what `wish` says; what the same manager said `before` and says no longer goes away."""
    made = dict(value)
    for key in before.keys() - wish.keys():
        made.pop(key, None)
    for key, part in wish.items():
        old, said = made.get(key), before.get(key)
        if isinstance(part, dict) and isinstance(old, dict):
            made[key] = applied(old, part, said if isinstance(said, dict) else {})
        else:
            made[key] = part
    return made


def refuse_type(given: str) -> Refusal:
    why = f"the body of the request was in an unknown format - accepted media types include: {MERGE}, {APPLY}; got {given}"
    return Refusal(415, "UnsupportedMediaType", why)
