"""Which adapters the replicas of a deployment should hold, which they hold, and which the gateway may route to.

A deployment's spec names adapters by the bundle that they stand on, so that another version never gets those of this one, and a version
that comes back finds its own. What the gateway may still route to stays loaded until it has said that it lets go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from penstock.platforms.contract import ReplicaState

Digests = dict[str, str]  # by name


def wanted_adapters(spec: Mapping[str, Any], bundle: str) -> Digests:
    """What the row asks for beside `bundle`."""
    return {name: row["digest"] for name, row in spec.get("adapters", {}).get(bundle, {}).items()}


def live_adapters(status: Mapping[str, Any], bundle: str) -> Digests:
    """What the gateway was last told of."""
    return dict(status.get("adapters", {}).get(bundle, {}))


def held_adapters(spec: Mapping[str, Any], status: Mapping[str, Any], bundle: str) -> Digests:
    """What replicas of `bundle` should hold now."""
    return live_adapters(status, bundle) | wanted_adapters(spec, bundle)


def all_loaded(replicas: Iterable[ReplicaState], wanted: Mapping[str, str]) -> bool:
    return all(replica.adapters.get(name) == digest for replica in replicas for name, digest in wanted.items())


def routable(replicas: Sequence[ReplicaState], names: Iterable[str]) -> tuple[str, ...]:
    """Those that every one of `replicas` has, whatever its version of them."""
    return tuple(sorted(name for name in names if all(name in replica.adapters for replica in replicas)))


def trouble(spec: Mapping[str, Any], bundles: Iterable[str], replicas: Iterable[ReplicaState]) -> str | None:
    """Why an adapter that is wanted beside one of `bundles` cannot be loaded, if so."""
    wanted = {bundle: wanted_adapters(spec, bundle) for bundle in bundles}
    for replica in replicas:
        for name, why in replica.adapter_errors.items():
            if name in wanted.get(replica.bundle, {}):
                return f"adapter {name!r} could not be loaded: {why}"
    return None
