"""Names of what stands for a deployment at SageMaker. What differs has another name, so that nothing is ever changed in place."""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.core.digests import digest_json, hex_of

LONGEST = 63


def endpoint_name(name: str, store: str) -> str:
    """`store`: two projects of one account may each have a deployment `intents`."""
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")[:32].rstrip("-") or "deployment"
    return f"penstock-{plain}-{_mark([name, store])}"


def model_name(endpoint: str, *facts: object) -> str:
    return f"{endpoint}-m-{_mark(facts)}"


def config_name(endpoint: str, *facts: object) -> str:
    return f"{endpoint}-c-{_mark(facts)}"


def variant_name(version: str, bundle: str) -> str:
    plain = re.sub(r"[^a-zA-Z0-9]+", "-", version).strip("-")[:32].rstrip("-")
    return f"v{plain}-{hex_of(bundle)[:8]}"


def _mark(facts: Sequence[object]) -> str:
    return hex_of(digest_json(list(facts)))[:8]
