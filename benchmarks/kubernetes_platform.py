"""What the Kubernetes platform costs beside the official client used plainly, against the same emulated API server.

Ours: objects known by a watch, applied only where they differ. The peer: for each pass over an endpoint one read of its Deployment and
one list of its pods; for each look at a job one read. Not covered: pods (none runs but for the log's lag), networks.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.core.home import Home
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.jobs_suite import ended, user_job

ENDPOINTS, PASSES, LOOKS = 200, 5, 200
LAGS = """
import time
from penstock.stages.user.types import Context

def speak(number: int, context: Context) -> int:
    for _ in range(number):
        context.log(f"at {time.time()}")
        time.sleep(0.2)
    return number
"""


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def imported(module: str) -> float:
    """Seconds in a fresh interpreter, the best of three."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return min(float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) for _ in range(3))


def client_of(cluster: Cluster) -> Any:
    from kubernetes import client, config

    return client, config.new_client_from_config(str(cluster.kubeconfig))


def endpoints(cluster: Cluster, home: Home, artifacts: Artifacts) -> None:
    made = KUBERNETES.endpoints(home, artifacts, cluster.settings(home.folder))
    specs = [EndpointSpec(f"model-{n}", (VersionSpec("1", "sha256:" + f"{n:064x}", 0),)) for n in range(ENDPOINTS)]
    first = timed(lambda: [made.apply(spec) for spec in specs])
    time.sleep(2.0)  # what was written comes back by the watch
    asked = len(cluster.api.seen)
    ours = [timed(lambda: [(made.apply(spec), made.observe(spec.name)) for spec in specs]) / ENDPOINTS for _ in range(PASSES)]
    calls = len(cluster.api.seen) - asked
    client, api = client_of(cluster)
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    names = [row["metadata"]["name"] for row in cluster.world.all("Deployment")]

    def plain() -> None:
        for name, spec in zip(names, specs, strict=True):
            apps.read_namespaced_deployment(name, "default")
            core.list_namespaced_pod("default", label_selector=f"penstock-endpoint={spec.name}")

    peer = timed(plain) / ENDPOINTS
    mine = statistics.median(ours)
    print(f"{ENDPOINTS} endpoints made in {first:.1f} s ({first / ENDPOINTS * 1e3:.0f} ms each, 4 objects)")
    print(f"a pass in which nothing changed: {mine * 1e3:.2f} ms an endpoint, {calls} calls in {PASSES} passes over all of them")
    print(f"the same by plain reads: {peer * 1e3:.2f} ms an endpoint, 2 calls each: {peer / mine:.0f}×")
    made.close()


def jobs(cluster: Cluster, home: Home, artifacts: Artifacts, folder: Path) -> None:
    made = KUBERNETES.jobs(
        home, artifacts, cluster.settings(home.folder, pools={"none": {"cpus": 64, "memory": "64GiB", "labels": {"no": "node"}}})
    )
    ours = [timed(lambda n=n: made.submit(user_job(folder / "code", "double", {"number": n}))) for n in range(30)]
    client, api = client_of(cluster)
    batch = client.BatchV1Api(api)
    bodies = [{**row, "metadata": {"name": f"plain-{i}"}} for i, row in enumerate(cluster.world.all("Job"))]
    for body in bodies:
        del body["status"], body["spec"]["selector"]
        labels = body["spec"]["template"]["metadata"]["labels"]
        body["spec"]["template"]["metadata"]["labels"] = {k: v for k, v in labels.items() if "penstock" in k}
    peer = [timed(lambda b=body: batch.create_namespaced_job("default", b)) for body in bodies]
    handle = made.submit(user_job(folder / "code", "double", {"number": 0}))
    asked = len(cluster.api.seen)
    look = timed(lambda: [made.observe(handle) for _ in range(LOOKS)]) / LOOKS
    calls = len(cluster.api.seen) - asked
    read = timed(lambda: [batch.read_namespaced_job(bodies[0]["metadata"]["name"], "default") for _ in range(LOOKS)]) / LOOKS
    a, b = statistics.median(ours), statistics.median(peer)
    print(f"submit: {a * 1e3:.1f} ms, code carried and order written first; the create call alone {b * 1e3:.1f} ms ({a / b:.1f}×)")
    print(f"a look at a job: {look * 1e3:.2f} ms ({calls} calls in {LOOKS} looks); a plain read {read * 1e3:.2f} ms: {read / look:.0f}×")
    made.close()


def lag(cluster: Cluster, home: Home, artifacts: Artifacts, folder: Path) -> None:
    made = KUBERNETES.jobs(home, artifacts, cluster.settings(home.folder))
    job = user_job(folder / "lag", "double", {"number": 40})
    (folder / "lag" / "lag_steps.py").write_text(LAGS)
    job = type(job)(**{**{f: getattr(job, f) for f in job.__slots__}, "config": {**job.config, "uses": "lag_steps:speak"}})
    began, seen, cursor = time.time(), list[float](), 0
    handle = made.submit(job)
    started = None
    while made.observe(handle).phase in ("pending", "running"):
        page = made.logs(handle, cursor)
        cursor, now = page.cursor, time.time()
        for line in page.lines:
            if '"at ' in line:
                at = float(line.split('"at ')[1].split('"')[0])
                started = started or at
                seen.append(now - at)
        made.wait(0.1)
    ended(made, handle)
    print(f"log lines reach the reader after {statistics.median(seen):.2f} s (median), {max(seen):.2f} s at most; sent every second")
    print(f"cold start of a step: {(started or began) - began:.2f} s from submit to its first line (a process here: no image, no node)")
    made.close()


def main() -> None:
    plain, ours = imported("kubernetes.client"), imported("penstock.platforms.kubernetes.platform")
    print(f"import: penstock's platform {ours:.2f} s without the vendor's client, which costs {plain:.2f} s when a call is first made")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        home = Home.find(folder, {})
        artifacts = Artifacts(home.artifacts_url, home.cache)
        with Cluster(folder / "cluster") as cluster:
            endpoints(cluster, home, artifacts)
        with Cluster(folder / "other") as cluster:
            jobs(cluster, home, artifacts, folder)
            lag(cluster, home, artifacts, folder)


if __name__ == "__main__":
    main()
