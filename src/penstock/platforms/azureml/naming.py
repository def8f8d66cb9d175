"""Names of what stands for a project, a deployment and its versions at Azure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.core.digests import digest_json, hex_of

TAG, SHAPE = "penstock-store", "penstock-shape"


def store_mark(store: str) -> str:
    """Which project's a resource is: two of one workspace, or of one person, must not take each other's for lost."""
    return hex_of(digest_json(store))[:16]


def endpoint_name(name: str, store: str, compute: str = "") -> str:
    """3 to 32 letters, digits and '-', its own in a region. `compute`: on which it is, since an endpoint cannot move."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:14].rstrip("-") or "deployment"
    return f"penstock-{plain}-{hex_of(digest_json([name, store, *filter(None, [compute])]))[:8]}"


def deployment_name(version: str, bundle: str) -> str:
    """3 to 32 letters, digits and '-'."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", version).strip("-")[:20].rstrip("-")
    return f"v{plain}-{hex_of(bundle)[:8]}"


def tags(*rows: Mapping[str, str]) -> dict[str, str]:
    """As Azure takes them: what a name of a tag may not hold becomes `_`."""
    merged: dict[str, str] = {"penstock": "yes"}
    for row in rows:
        merged |= row
    return {re.sub(r"[<>%&\\?/]", "_", key)[:128]: value[:256] for key, value in merged.items()}
