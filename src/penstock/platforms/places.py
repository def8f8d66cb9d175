"""Where a section of `platforms` means: two sections with one place serve a deployment by the same endpoint.

Not covered: two accounts, regions or workspaces of one managed cloud. Bridges and notes on this machine know a deployment there by its
name alone, so of those only one can be served at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TOLD_APART = {"kubernetes": ("kubeconfig", "context", "namespace")}


def place_of(section: Mapping[str, Any]) -> tuple[str, ...]:
    """The kind, and of clusters what tells endpoints of one name apart."""
    kind = str(section.get("kind", "local"))
    return (kind, *(str(section.get(name) or "") for name in _TOLD_APART.get(kind, ())))
