"""The emulated cluster is as strict as a real one: what it refuses, how it says so, and what its controllers do."""

from __future__ import annotations

import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import pytest

from penstock.platforms.kubernetes.api import Api
from penstock.platforms.kubernetes.errors import Answered
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.emulators.kubernetes.quantities import quantity
from penstock.testing.emulators.kubernetes.selecting import fielded, labelled
from penstock.testing.jobs_suite import until

SAFE = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "capabilities": {"drop": ["ALL"]},
}
JOBS, PODS = "/apis/batch/v1/namespaces/default/jobs", "/api/v1/namespaces/default/pods"
TOO_FEW = {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}
MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"


def container(**more: Any) -> dict[str, Any]:
    return {"name": "c", "image": "x", "command": ["penstock", "--version"], "securityContext": SAFE, **more}


def job(name: str = "j", pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", "containers": [container()], **(pod or {})}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": template, **spec}}


def config(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def deployment(name: str, replicas: int, **pod: Any) -> dict[str, Any]:
    labels = {"app": name}
    sleeping = container(command=["penstock", "up", "--foreground", "--port", "0"])
    template = {"metadata": {"labels": labels}, "spec": {"containers": [sleeping], "terminationGracePeriodSeconds": 1, **pod}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def ask(cluster: Cluster, method: str, path: str, body: Any = None, media: str = "application/json", **query: str) -> tuple[int, Any]:
    """(status, answer) without any client between."""
    text = "&".join(f"{key}={value}" for key, value in query.items())
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {cluster.api.token}", "Content-Type": media}
    request = urllib.request.Request(f"{cluster.access.url}{path}?{text}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=cluster.folder / "tls.crt")) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.parametrize(
    ("value", "code", "told"),
    [
        (job(parallelsm=2), 400, 'strict decoding error: unknown field "spec.parallelsm"'),
        (job(parallelism="two"), 422, "spec.parallelism: 'two' is not of type"),
        (job(pod={"restartPolicy": "Always"}), 422, "spec.template.spec.restartPolicy: Unsupported value: 'Always'"),
        (job("Not_A_Name"), 422, "DNS-1123 label"),
        (job("j" * 64), 422, "at most 63 characters"),
        ({**job(), "metadata": {"name": "j", "labels": {"a": "b" * 64}}}, 422, "a valid label must be"),
        ({**job(), "metadata": {"name": "j", "namespace": "other"}}, 400, "does not match the namespace"),
        ({**job(), "metadata": {}}, 422, "name or generateName is required"),
        ({**job(), "kind": "Jobb"}, 400, "the object provided is unrecognized"),
        (job(pod={"containers": [container(resources={"limits": {"memory": "2 GB"}})]}), 422, "quantities must match"),
        (job(pod={"containers": [container(resources=TOO_FEW)]}), 422, "less than or equal to cpu"),
        (job(pod={"containers": [container(resources={"requests": {"nvidia.com/gpu": "1"}})]}), 422, "non overcommitable"),
        (job(pod={"containers": [container(volumeMounts=[{"name": "v", "mountPath": "/v"}])]}), 422, "Not found: 'v'"),
        (job(completionMode="Indexed"), 422, "when completion mode is Indexed"),
    ],
)
def test_what_a_real_server_refuses_is_refused(cluster: Cluster, value: Any, code: int, told: str) -> None:
    status, answer = ask(cluster, "POST", JOBS, value)
    assert (status, answer["kind"], answer["code"]) == (code, "Status", code)
    assert told in answer["message"]


def test_the_shapes_of_its_errors(cluster: Cluster) -> None:
    cluster.add_node("unused", labels={"x": "y"})
    assert ask(cluster, "POST", JOBS, job())[0] == 201
    status, answer = ask(cluster, "POST", JOBS, job())
    assert (status, answer["reason"], answer["details"]) == (409, "AlreadyExists", {"name": "j", "kind": "jobs", "group": "batch"})
    status, answer = ask(cluster, "GET", f"{JOBS}/none")
    assert (status, answer["reason"], answer["message"]) == (404, "NotFound", 'jobs.batch "none" not found')
    assert ask(cluster, "GET", "/apis/batch/v2/jobs")[0] == 404
    assert ask(cluster, "PATCH", f"{JOBS}/j", {}, "application/strategic-merge-patch+json")[0] == 415
    assert ask(cluster, "PATCH", f"{JOBS}/j", {"metadata": {"resourceVersion": "1"}}, MERGE)[1]["reason"] == "Conflict"
    changed = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3}}}}
    status, answer = ask(cluster, "PATCH", f"{JOBS}/j", changed, MERGE)
    assert (status, answer["details"]["causes"][0]["field"]) == (422, "spec.template")
    assert ask(cluster, "PATCH", f"{JOBS}/k", job("k"), APPLY)[0] == 400, "apply without a manager"
    cluster.api.token = "other"
    with pytest.raises(Answered, match="401 Unauthorized"):
        Api("default", str(cluster.kubeconfig))._call("GET", JOBS)


def test_apply_makes_changes_and_takes_back_what_is_no_longer_said(cluster: Cluster) -> None:
    value = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {"a": "1", "b": "2"}},
        "data": {"x": "1", "y": "2"},
    }
    path = "/api/v1/namespaces/default/configmaps/c"
    made = ask(cluster, "PATCH", path, value, APPLY, fieldManager="me")[1]
    other = {"metadata": {"annotations": {"theirs": "1"}}}
    ask(cluster, "PATCH", path, other, MERGE)
    less = {**value, "metadata": {"name": "c", "labels": {"a": "3"}}, "data": {"x": "1"}}
    found = ask(cluster, "PATCH", path, less, APPLY, fieldManager="me")[1]
    assert found["metadata"]["labels"] == {"a": "3"}
    assert (found["data"], found["metadata"]["annotations"]) == ({"x": "1"}, {"theirs": "1"})
    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    same = ask(cluster, "PATCH", path, less, APPLY, fieldManager="me")[1]
    assert same["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"], "no change is no new version"


def test_lists_come_in_pages_and_tokens_grow_old(cluster: Cluster) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    for number in range(7):
        ask(
            cluster,
            "POST",
            "/api/v1/namespaces/default/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}},
        )
    path = "/api/v1/namespaces/default/configmaps"
    page = ask(cluster, "GET", path, limit="3")[1]
    assert [row["metadata"]["name"] for row in page["items"]] == ["c0", "c1", "c2"]
    assert page["metadata"]["remainingItemCount"] == 4
    token = {"continue": page["metadata"]["continue"], "limit": "10"}
    assert [row["metadata"]["name"] for row in ask(cluster, "GET", path, **token)[1]["items"]] == ["c3", "c4", "c5", "c6"]
    cluster.objects.forget()
    status, answer = ask(cluster, "GET", path, **token)
    assert (status, answer["reason"]) == (410, "Expired")


def test_a_long_list_is_read_whole_though_a_token_grows_old(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.platforms.kubernetes.api.PAGE", 2)
    for number in range(5):
        ask(cluster, "POST", JOBS, job(f"j{number}"))
    api, pages = Api("default", str(cluster.kubeconfig)), [0]
    send = api._call

    def call(*given: Any, **more: Any) -> Any:
        pages[0] += 1
        if pages[0] == 2:
            cluster.objects.forget()
        return send(*given, **more)

    monkeypatch.setattr(api, "_call", call)
    rows, version = api.rows("Job")
    assert sorted(row["metadata"]["name"] for row in rows) == [f"j{n}" for n in range(5)]
    assert int(version) > 0
    assert pages[0] == 5, "one page, a refused one, three again"


def test_watches_tell_additions_changes_removals_and_bookmarks(cluster: Cluster) -> None:
    api = Api("default", str(cluster.kubeconfig))
    _, version = api.rows("Service", "team=a")
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        for event in api.watch("Service", "team=a", version, 12):
            seen.append((event["type"], event["object"]["metadata"].get("name", "")))

    thread = threading.Thread(target=follow)
    thread.start()
    spec = {"clusterIP": "None", "selector": {"a": "b"}}
    for name, team in (("s1", "a"), ("s2", "b")):
        value = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"team": team}}, "spec": spec}
        api.create(value)
    api.merge("Service", "s1", {"metadata": {"annotations": {"x": "y"}}})
    api.merge("Service", "s2", {"metadata": {"labels": {"team": "a"}}})
    api.merge("Service", "s1", {"metadata": {"labels": {"team": "b"}}})
    api.delete("Service", "s2")
    thread.join()
    told = [row for row in seen if row[0] != "BOOKMARK"]
    assert told == [("ADDED", "s1"), ("MODIFIED", "s1"), ("ADDED", "s2"), ("DELETED", "s1"), ("DELETED", "s2")]
    assert ("BOOKMARK", "") in seen
    cluster.objects.forget()
    with pytest.raises(Answered, match="too old resource version"):
        next(Api("default", str(cluster.kubeconfig)).watch("Service", "", version, 5))  # the first one's connection may be closed by now


def test_pods_that_are_not_restricted_are_not_admitted(cluster: Cluster) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    status, answer = ask(cluster, "POST", PODS, pod)
    assert status == 403
    for word in ("allowPrivilegeEscalation", "unrestricted capabilities", "runAsNonRoot", "seccompProfile"):
        assert word in answer["message"]
    ask(cluster, "POST", JOBS, job(pod={"containers": [{"name": "c", "image": "x"}]}))
    event = until(lambda: cluster.world.all("Event"))[0]
    assert event["reason"] == "FailedCreate"
    assert "violates PodSecurity" in event["message"]


def test_a_job_runs_ends_and_its_pods_go_with_it_only_when_asked(cluster: Cluster) -> None:
    for name, policy in (("kept", ""), ("gone", "Background")):
        ask(cluster, "POST", JOBS, job(name))
        until(lambda n=name: ask(cluster, "GET", f"{JOBS}/{n}")[1].get("status", {}).get("succeeded"))
        ask(cluster, "DELETE", f"{JOBS}/{name}", **({"propagationPolicy": policy} if policy else {}))
    names = until(lambda: (p := [pod["metadata"]["name"] for pod in cluster.world.all("Pod")]) and len(p) == 1 and p)
    assert names[0].startswith("kept-")


def test_a_failed_job_is_tried_as_often_as_it_says(cluster: Cluster) -> None:
    ask(cluster, "POST", JOBS, job("twice", {"containers": [container(command=["penstock", "nonsense"])]}, backoffLimit=1))
    status = until(lambda: (s := ask(cluster, "GET", f"{JOBS}/twice")[1].get("status", {})).get("failed") == 2 and s)
    ends = until(lambda: [c for c in ask(cluster, "GET", f"{JOBS}/twice")[1]["status"].get("conditions", ()) if c["type"] == "Failed"])
    assert ends[0]["reason"] == "BackoffLimitExceeded"
    assert status["failed"] == 2
    pod = cluster.world.all("Pod")[0]["metadata"]["name"]
    assert "no command is called 'nonsense'" in "\n".join(Api("default", str(cluster.kubeconfig)).log(pod))


def test_a_deployment_rolls_without_a_gap_and_shrinks_by_cost(cluster: Cluster) -> None:
    api = Api("default", str(cluster.kubeconfig))
    api.apply(deployment("d", 2))
    first = until(lambda: (p := cluster.pods()) and len(p) == 2 and all(q.get("status", {}).get("phase") == "Running" for q in p) and p)
    dear = first[0]["metadata"]["name"]
    api.merge("Pod", dear, {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "9"}}})
    api.apply(deployment("d", 1))
    until(lambda: [pod["metadata"]["name"] for pod in cluster.pods()] == [dear])
    fewest = [2]
    api.apply(deployment("d", 1, terminationGracePeriodSeconds=2))

    def rolled() -> bool:
        fewest.append(len([p for p in cluster.pods() if p.get("status", {}).get("phase") == "Running"]))
        return dear not in {pod["metadata"]["name"] for pod in cluster.pods()}

    until(rolled)
    assert min(fewest) >= 1
    api.delete("Deployment", "d")
    until(lambda: not cluster.world.all("Pod") and not cluster.world.all("ReplicaSet"))


def test_evictions_keep_to_the_budget(cluster: Cluster) -> None:
    api = Api("default", str(cluster.kubeconfig))
    api.apply(deployment("d", 2))
    until(lambda: len([p for p in cluster.pods() if p.get("status", {}).get("phase") == "Running"]) == 2)
    budget = {"minAvailable": 2, "selector": {"matchLabels": {"app": "d"}}}
    api.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": budget})
    name = cluster.pods()[0]["metadata"]["name"]
    status, answer = ask(
        cluster, "POST", f"{PODS}/{name}/eviction", {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    )
    assert (status, "disruption budget" in answer["message"]) == (429, True)
    api.merge("PodDisruptionBudget", "b", {"spec": {"minAvailable": 1}})
    assert ask(cluster, "POST", f"{PODS}/{name}/eviction", {})[0] == 201
    until(lambda: name not in {pod["metadata"]["name"] for pod in cluster.world.all("Pod")})
    api.delete("Deployment", "d")


def test_custom_kinds_are_those_that_are_installed_and_closed(clusters: Callable[..., Cluster], crd_folder: Any) -> None:
    cluster = clusters(crds=crd_folder)
    api = Api("default", str(cluster.kubeconfig))
    assert all(api.offers(kind) for kind in ("TrainJob", "ScaledObject", "InferenceService"))
    path = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects"
    trigger = {"type": "cpu", "metadata": {"value": "70"}}
    spec = {"scaleTargetRef": {"name": "d"}, "triggers": [trigger]}
    value = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "s"}, "spec": spec}
    assert ask(cluster, "POST", path, {**value, "spec": {**spec, "minReplicas": 1}})[1]["message"].endswith(
        'unknown field "spec.minReplicas"'
    )
    assert ask(cluster, "POST", path, {**value, "spec": {"scaleTargetRef": {"name": "d"}}})[0] == 422
    assert ask(cluster, "POST", path, value)[0] == 201


def test_without_custom_kinds_there_are_none(cluster: Cluster) -> None:
    assert not Api("default", str(cluster.kubeconfig)).offers("TrainJob")


def test_a_server_that_does_not_answer_in_time(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.platforms.kubernetes.api.TIMEOUT_S", (1.0, 0.3))
    cluster.faults.hang, cluster.faults.hang_s = 1, 1.0
    began = time.monotonic()
    assert Api("default", str(cluster.kubeconfig)).get("Job", "none") is None
    assert time.monotonic() - began < 1.0 + 2.0


@pytest.mark.parametrize(("text", "number"), [("500m", 0.5), ("2Gi", 2**31), ("1e3", 1000), ("64", 64), ("1.5k", 1500)])
def test_quantities(text: str, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "2 GB", "Gi", "1KiB", "--1"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="regular expression"):
        quantity(text)


def test_selectors() -> None:
    labels = {"a": "1", "b": "2"}
    held = ["a=1", "a==1,b!=3", "a in (1, 2)", "c notin (1)", "a", "!c", "", "a in (1),b"]
    assert [labelled(labels, text) for text in held] == [True] * len(held)
    assert [labelled(labels, text) for text in ("a=2", "a notin (1)", "c", "!a", "a,c")] == [False] * 5
    assert fielded({"status": {"phase": "Running"}}, "status.phase=Running,metadata.name!=x")
    assert not fielded({"status": {"phase": "Running"}}, "status.phase!=Running")
