"""What platforms of functions are told: Lambda's request by botocore's own model, a Service of Knative by the pod that it makes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import botocore.session
import kubernetes_validate
import pytest
from botocore.validate import ParamValidator

from penstock.core.errors import BadInput
from penstock.platforms.function.manifests import KINDS, Wanted, aws_lambda, cloud_run, knative
from penstock.platforms.image.build import Wish, container

ROLE = "arn:aws:iam::123456789012:role/penstock"
WANTED = Wanted("intents", "registry.example/penstock@sha256:" + "1" * 64, {"PENSTOCK_SERVING": "{}"}, concurrency=1, most=3)


def pod_of(service: dict[str, Any]) -> dict[str, Any]:
    """The pod of a Service's revision, strictly by Kubernetes' schema: without what only Knative has."""
    spec = dict(service["spec"]["template"]["spec"])
    for own in ("containerConcurrency", "timeoutSeconds"):
        assert isinstance(spec.pop(own), int)
    spec["containers"] = [{"name": "user-container", **one} for one in spec["containers"]]
    for one in spec["containers"]:
        for probe in (one[name] for name in ("readinessProbe", "startupProbe") if name in one):
            probe["httpGet"] = {"port": one["ports"][0]["containerPort"], **probe["httpGet"]}  # as Knative fills it in
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.37", strict=True)
    return spec


def test_knative_scales_to_none_under_restricted_security() -> None:
    service = knative(replace(WANTED, role="functions"))
    template = service["spec"]["template"]
    assert (service["apiVersion"], service["kind"], service["metadata"]["name"]) == ("serving.knative.dev/v1", "Service", "intents")
    assert template["metadata"]["annotations"] == {"autoscaling.knative.dev/min-scale": "0", "autoscaling.knative.dev/max-scale": "3"}
    assert (template["spec"]["containerConcurrency"], template["spec"]["timeoutSeconds"]) == (1, 60)
    spec = pod_of(service)
    [one] = spec["containers"]
    assert spec["serviceAccountName"] == "functions"
    assert one["args"] == container(Wish())["Cmd"]
    assert f"{one['ports'][0]['containerPort']}/tcp" in container(Wish())["ExposedPorts"]
    security = one["securityContext"]
    assert (security["readOnlyRootFilesystem"], security["runAsNonRoot"], security["allowPrivilegeEscalation"]) == (True, True, False)
    assert {mount["mountPath"] for mount in one["volumeMounts"]} == {"/work", "/tmp"}


def test_cloud_run_drains_before_it_is_killed() -> None:
    service = cloud_run(WANTED)
    [one] = pod_of(service)["containers"]
    variables = {row["name"]: row["value"] for row in one["env"]}
    assert json.loads(variables["PENSTOCK_REPLICA"])["drain_s"] < 10
    assert service["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/minScale"] == "0"
    assert "volumes" not in service["spec"]["template"]["spec"]
    assert one["startupProbe"]["httpGet"]["path"] == "/ping"


def test_lambda_by_its_own_model() -> None:
    model = botocore.session.get_session().get_service_model("lambda").operation_model("CreateFunction").input_shape
    request = aws_lambda(replace(WANTED, role=ROLE))
    assert ParamValidator().validate(request, model).generate_report() == ""
    assert ParamValidator().validate({**request, "Memory": 1}, model).has_errors()
    variables = request["Environment"]["Variables"]
    assert variables["PENSTOCK_SERVING"] == "{}"
    assert all(variables[name].startswith("/tmp") for name in ("HOME", "PENSTOCK_HOME", "XDG_CACHE_HOME"))
    assert (request["MemorySize"], request["Timeout"]) == (2048, 60)


@pytest.mark.parametrize(
    ("kind", "change", "why"),
    [
        ("lambda", {}, "needs the role"),
        ("lambda", {"role": ROLE, "memory_bytes": 64 << 20}, "128 to 10240"),
        ("lambda", {"role": ROLE, "timeout_s": 1000.0}, "within 900 s"),
        ("knative", {"name": "My Model"}, "cannot name a function"),
        ("cloud-run", {"concurrency": 0}, "at least 1"),
    ],
)
def test_what_a_platform_does_not_have_is_refused(kind: str, change: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        KINDS[kind](replace(WANTED, **change))
