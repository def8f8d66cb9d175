"""What marks everything of ours in a cluster, and tells one installation from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.digests import digest_bytes, hex_of

if TYPE_CHECKING:
    from penstock.core.home import Home

MANAGED = {"app.kubernetes.io/managed-by": "penstock"}
HOME = "penstock-home"
ENDED_BY = "penstock.dev/ended-by"
APPLIED = "penstock.dev/applied"  # digest of what was applied


def labels_of(home: Home) -> dict[str, str]:
    return {**MANAGED, HOME: hex_of(digest_bytes(home.database_url.encode()))[:16]}


def selector(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())
