"""Deployments in tests: worlds whose replicas are rows in memory, passes until something holds, and what the gateway was told."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from penstock.control.contract import Again
from penstock.control.deployments import DeploymentReconciler, desired_deployment, phase_of
from penstock.control.world import LEASE_S, World
from penstock.serving.snapshot import ModelRoute, read_snapshot
from penstock.store.resources import Resource
from penstock.testing.control import Bench

DIGESTS = ["sha256:" + str(n) * 64 for n in range(5)]


def process(bench: Bench, endpoints: Any, crash_at: int = 0) -> World:
    """A control process over `endpoints`; see Bench.world."""
    world = bench.world(crash_at=crash_at)
    world._endpoints["laptop"] = endpoints
    return world


def want(world: World, version: int, replicas: int = 1, **deploy: Any) -> Resource:
    """Deployment `m` of model `m` at `version`; `deploy` adds sections of the file."""
    return desired_deployment(world, "m", "m", version, {"scale": {"min": replicas}, **deploy}, {}, principal="test")


def settle(world: World, bench: Bench, until: Callable[[Resource], bool], passes: int = 80) -> Resource:
    """Passes of the reconciler over deployment `m` until `until` holds of its row. Raises AssertionError."""
    reconciler = DeploymentReconciler()
    for _ in range(passes):
        row = world.store.resources.find("deployment", "m")
        assert row is not None
        assert world.store.resources.take("deployment", row.id, world.owner, LEASE_S)
        outcome = reconciler.reconcile(row, world)
        row = world.store.resources.get("deployment", row.id)
        if until(row):
            return row
        bench.clock.sleep(outcome.after_s if isinstance(outcome, Again) else 0.1)
        if row.phase == "switching":
            time.sleep(0.05)  # the real gateway polls the real file
    raise AssertionError(f"did not settle: {row and (row.phase, row.status)}")


def live(version: int) -> Callable[[Resource], bool]:
    """Whether the deployment serves `version` most, as it is wanted now."""
    return lambda row: phase_of(row) in ("live", "degraded") and row.status.get("version") == version


def routed(bench: Bench) -> list[tuple[str, int]]:
    """(version, replicas) of every version in the snapshot."""
    snapshot = read_snapshot(bench.home.gateway / "snapshot.json")
    return [(v.version, len(v.replicas)) for m in snapshot.models for v in m.versions]


def route(bench: Bench, name: str = "m") -> ModelRoute:
    """What the snapshot says of deployment `name`."""
    return next(m for m in read_snapshot(bench.home.gateway / "snapshot.json").models if m.name == name)


def weights(bench: Bench) -> dict[str, float]:
    """Share of requests by version, in the snapshot."""
    return {v.version: v.weight for v in route(bench).versions}
