"""Endpoints on Kubernetes, for benchmarks/platforms.py: known by a watch and applied only where they differ, beside plain reads.

The peer: for each pass over an endpoint one read of its Deployment and one list of its pods. No pod runs.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.core.home import Home
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.store.artifacts import Artifacts
from platform_places import Place

PASSES = 5


def endpoints(place: Place, folder: Path, count: int) -> Iterator[tuple[str, str]]:
    home = Home.find(folder, dict(os.environ))
    made: Any = place.parts.endpoints(home, Artifacts(home.artifacts_url, home.cache), place.section)
    cluster = place.state
    specs = [EndpointSpec(f"model-{n}", (VersionSpec("1", "sha256:" + f"{n:064x}", 0),)) for n in range(count)]
    began, used = time.perf_counter(), time.process_time()
    for spec in specs:
        made.apply(spec)
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    yield f"{count} endpoints, by passes", f"{seconds:.0f} s, {cpu:.1f} CPU s with the emulator's, 4 objects each"
    time.sleep(2.0)  # what was written comes back by the watch
    asked, ours = len(cluster.api.seen), []
    for _ in range(PASSES):
        used = time.thread_time()
        for spec in specs:
            made.apply(spec)
            made.observe(spec.name)
        ours.append((time.thread_time() - used) / count)
    each, calls = statistics.median(ours), len(cluster.api.seen) - asked
    yield "unchanged pass", f"{each * 1e3:.2f} CPU ms, {calls / PASSES / count:.4f} calls"
    plain = _plain(cluster, specs)
    yield "plain read of one", f"{plain * 1e3:.2f} CPU ms, 2 calls: {plain / each:.1f}×"
    made.close()


def _plain(cluster: Any, specs: list[EndpointSpec]) -> float:
    from kubernetes import client, config

    api = config.new_client_from_config(str(cluster.kubeconfig))
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    names = [row["metadata"]["name"] for row in cluster.world.all("Deployment")]
    used = time.thread_time()
    for name, spec in zip(names, specs, strict=True):
        apps.read_namespaced_deployment(name, "default")
        core.list_namespaced_pod("default", label_selector=f"penstock-endpoint={spec.name}")
    return (time.thread_time() - used) / len(names)
