"""Names of what stands for a deployment at Vertex AI, by rules of the service: so that asking twice is asking once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.core.digests import digest_json, hex_of


def endpoint_name(name: str, store: str) -> str:
    """`store`: two projects of one cloud project may each have a deployment `intents`."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32].rstrip("-") or "deployment"
    return f"penstock-{plain}-{_mark([name, store])[:8]}"


def model_name(endpoint: str, *facts: object) -> str:
    return f"{endpoint}-m-{_mark(facts)[:8]}"


def slot_name(version: str, bundle: str) -> str:
    """Of a version at its endpoint: the display name of its deployed model."""
    plain = re.sub(r"[^a-z0-9]+", "-", version.lower()).strip("-")[:32].rstrip("-")
    return f"v{plain}-{hex_of(bundle)[:8]}"


def deployed_id(slot: str) -> str:
    """Ten digits, as the service wants them."""
    return str(10**9 + int(_mark([slot])[:12], 16) % (9 * 10**9))


def _mark(facts: Sequence[object]) -> str:
    return hex_of(digest_json(list(facts)))
