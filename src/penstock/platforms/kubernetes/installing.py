"""The installation applied to a cluster: made where it is not there, changed where it differs."""

from __future__ import annotations

from penstock.platforms.kubernetes.api import Api
from penstock.platforms.kubernetes.install import Wish, objects


def apply(wish: Wish, kubeconfig: str | None, context: str | None) -> list[str]:
    """Kind and name of each object, in order. Raises PlatformDenied, PlatformAway, BadInput."""
    api = Api(wish.namespace, kubeconfig, context)
    found = []
    for value in objects(wish):
        api.apply(value)
        found.append(f"{value['kind']} {value['metadata']['name']}")
    return found
