"""The installation applied to a cluster: made where it is not there, changed where it differs."""

from __future__ import annotations

from penstock.platforms.kubernetes.api import Api
from penstock.platforms.kubernetes.install import Wish, objects
from penstock.platforms.kubernetes.metrics import require_operator


def apply(wish: Wish, kubeconfig: str | None, context: str | None) -> list[str]:
    """Kind and name of each object, in order. Raises PlatformDenied, PlatformAway, PlatformLacks, BadInput."""
    api, wanted = Api(wish.namespace, kubeconfig, context), objects(wish)
    if wish.monitor is not None:
        require_operator(api)
    found = []
    for value in wanted:
        api.apply(value)
        found.append(f"{value['kind']} {value['metadata']['name']}")
    return found
