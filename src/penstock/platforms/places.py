"""Where a section of `platforms` means: two sections with one place serve a deployment by the same endpoint.

What this machine keeps of a place (bridges, notes) lies under its name, so a deployment can be in two places of one kind at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.core.digests import digest_json, hex_of

Section = Mapping[str, Any]


def place_of(section: Section) -> str:
    """Its name, fit for a folder: the kind, and a few digits of what tells places of that kind apart (who asks is not among it)."""
    kind = str(section.get("kind", "local"))
    apart = _APART.get(kind)
    return kind if apart is None else f"{kind}-{hex_of(digest_json(list(apart(section))))[:8]}"


def _cluster(section: Section) -> Sequence[str]:
    return [str(section.get(name) or "") for name in ("kubeconfig", "context", "namespace")]


def _account(section: Section) -> Sequence[str]:
    return section["role"].split(":")[4], section["region"]  # arn:aws:iam::ACCOUNT:role/…


def _project(section: Section) -> Sequence[str]:
    return section["project"], section["region"]


def _workspace(section: Section) -> Sequence[str]:
    """Azure's names are the same in capitals."""
    return [section[name].casefold() for name in ("subscription", "resource_group", "workspace")]


_APART: Mapping[str, Callable[[Section], Sequence[str]]] = {
    "kubernetes": _cluster,
    "sagemaker": _account,
    "vertex": _project,
    "azureml": _workspace,
}
