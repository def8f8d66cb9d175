"""The installation: what is printed is what a strict server takes, and what kustomize builds; its rights are enough and no more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from penstock.core.errors import BadInput, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.kubernetes.install import Wish, objects, rules
from penstock.platforms.kubernetes.installing import apply
from penstock.platforms.kubernetes.kustomize import tree
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.emulators.kubernetes.rules import unrestricted
from penstock.testing.emulators.kubernetes.schemas import MONITORING, Schemas
from penstock.testing.endpoints_suite import bundle, desired, settled
from penstock.testing.jobs_suite import ended, until, user_job
from penstock.testing.serving import ECHO

WISH = Wish("registry.example/penstock:1", "s3://bucket/penstock", secret="penstock", annotations={"eks.amazonaws.com/role-arn": "arn:x"})
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}


def command(*arguments: str) -> Any:
    line = [sys.executable, "-m", "penstock", "install", "kubernetes", "--image", "x/penstock:1", "--store", "s3://b/p", *arguments]
    done = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "KUBECONFIG": "/nowhere"})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cluster_takes_it_twice_and_it_runs(cluster: Cluster) -> None:
    first = apply(WISH, str(cluster.kubeconfig), None)
    versions = {row["metadata"]["name"]: row["metadata"]["generation"] for row in cluster.world.all("Deployment")}
    assert apply(WISH, str(cluster.kubeconfig), None) == first
    assert {row["metadata"]["name"]: row["metadata"]["generation"] for row in cluster.world.all("Deployment")} == versions
    assert [name.partition(" ")[0] for name in first] == [value["kind"] for value in objects(WISH)]
    assert cluster.world.all("Namespace")[-1]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = until(lambda: cluster.pods())[0]
    assert unrestricted(pod["spec"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is True
    waiting = until(lambda: (pod := cluster.pods()[0]).get("status", {}).get("containerStatuses") and pod)
    assert 'secret "penstock" not found' in str(waiting["status"]), "the Secret that was named is not there yet"


def test_with_a_monitor_prometheus_finds_the_gateway_and_shows_a_key(clusters: Any) -> None:
    wish = replace(WISH, monitor={"release": "kube-prometheus-stack"})
    cluster = clusters(crds=MONITORING)
    assert apply(wish, str(cluster.kubeconfig), None)[-1] == "PodMonitor penstock"
    made = cluster.world.all("PodMonitor")[0]
    assert made["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    endpoint = made["spec"]["podMetricsEndpoints"][0]
    assert endpoint["authorization"] == {"credentials": {"name": "penstock", "key": "PENSTOCK_METRICS_KEY"}}
    pod = until(lambda: cluster.pods())[0]
    assert made["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert endpoint["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
    printed = list(yaml.safe_load_all(command("--dry-run", "--secret", "s", "--monitor-label", "a=b")))
    assert printed[-1]["kind"] == "PodMonitor"
    with pytest.raises(BadInput, match="must show the gateway a key"):
        objects(replace(wish, secret=None))


def test_a_monitor_needs_the_operator(cluster: Cluster) -> None:
    with pytest.raises(PlatformLacks, match="prometheus-operator is not installed"):
        apply(replace(WISH, monitor={}), str(cluster.kubeconfig), None)
    assert not cluster.world.all("Deployment")


def test_what_is_printed_is_whole_and_asks_nobody() -> None:
    printed = list(yaml.safe_load_all(command("--dry-run")))
    assert printed[0]["kind"] == "Namespace"
    assert all(value["metadata"].get("namespace") == "penstock" for value in printed[1:])
    listed = json.loads(command("--dry-run", "--json"))["objects"]
    assert len(listed) == len(printed)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(("overlay", "memory"), [("trial", "1Gi"), ("production", "8Gi")])
def test_kustomize_builds_the_overlays(overlay: str, memory: str, tmp_path: Path) -> None:
    command("--kustomize", str(tmp_path / "tree"))
    assert sorted(str(p.relative_to(tmp_path / "tree")) for p in (tmp_path / "tree").rglob("*.yaml")) == sorted(tree(WISH))
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path / "tree" / "overlays" / overlay)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = {value["kind"]: value for value in yaml.safe_load_all(done.stdout)}
    container = built["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"memory": memory}
    assert ("envFrom" in container) == (overlay == "production")
    schemas, kinds = Schemas(), {kind.name: kind for kind in _kinds()}
    for value in built.values():
        schemas.check(kinds[value["kind"]], value)


def _kinds() -> Any:
    from penstock.testing.emulators.kubernetes.kinds import BUILT_IN

    return BUILT_IN


def test_its_rights_are_enough_for_jobs_and_endpoints_and_no_more(cluster: Cluster, tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    replica = {"PENSTOCK_REPLICA": json.dumps({"engine_class": ECHO})}
    settings = cluster.settings(home.folder, environment=replica)
    jobs = KUBERNETES.jobs(home, artifacts, settings)
    ended(jobs, jobs.submit(user_job(tmp_path / "code", "double", {"number": 1})))
    ended(jobs, jobs.submit(user_job(tmp_path / "code", "fail", {"number": 1})))
    jobs.close()
    endpoints = KUBERNETES.endpoints(home, artifacts, settings)
    one = bundle(artifacts, tmp_path, "one")
    settled(endpoints, desired(("1", one, 2)))
    settled(endpoints, desired(("1", one, 1)))
    endpoints.delete("intents")
    endpoints.close()
    KUBERNETES.left(home, artifacts, settings)
    needed = {asked for call in cluster.api.seen if (asked := _right(cluster, *call)) is not None}
    granted = {
        (group, plural, verb) for rule in rules() for group in rule["apiGroups"] for plural in rule["resources"] for verb in rule["verbs"]
    }
    assert needed <= granted, needed - granted
    assert not any("*" in part or "secrets" in part for right in granted for part in right)
    assert {plural for _, plural, _ in needed} >= {"jobs", "pods", "deployments", "services", "networkpolicies"}


def _right(cluster: Cluster, method: str, path: str) -> tuple[str, str, str] | None:
    """(group, plural, verb) that a call needs; None for discovery, which everybody may ask."""
    parts = urlsplit(path)
    if "/namespaces/" not in parts.path:
        return None
    at = cluster.api.target(parts.path)
    verb = VERBS.get(method) or ("watch" if "watch=true" in parts.query else "get" if at.name else "list")
    # To apply what is not there yet takes the right to make it, too; both are granted together or the first apply would fail.
    return at.kind.group, at.kind.plural + (f"/{at.subresource}" if at.subresource else ""), verb
