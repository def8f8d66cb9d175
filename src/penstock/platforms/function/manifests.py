"""What a platform of functions is told to make: a Knative Service (Cloud Run takes it too), or the request of Lambda's CreateFunction.

Sources: Knative serving API (`serving.knative.dev/v1`), Cloud Run YAML reference, AWS Lambda API reference.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.errors import BadInput
from penstock.platforms.remote.container import PORT, USER, WORK, architecture

LAMBDA_MEMORY_MB = (128, 10240)
LAMBDA_LONGEST_S = 900
CLOUD_RUN_GRACE_S = 8.0  # it kills 10 s after SIGTERM
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """`environment`: what the container is told to serve. `concurrency`: requests at once in one container; `most`: containers."""

    name: str
    image: str
    environment: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 2 << 30
    cpus: float = 1.0
    timeout_s: float = 60.0
    concurrency: int = 16
    most: int = 10
    role: str = ""


def knative(wanted: Wanted) -> dict[str, Any]:
    """Down to none while nobody asks. Admitted under restricted pod security."""
    _named(wanted)
    writable = [{"name": name, "mountPath": path} for name, path in (("work", WORK), ("tmp", "/tmp"))]
    container = {
        **_container(wanted, {}),
        "readinessProbe": {"httpGet": {"path": "/ping"}, "periodSeconds": 1, "failureThreshold": 3},
        "volumeMounts": writable,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    scale = {"autoscaling.knative.dev/min-scale": "0", "autoscaling.knative.dev/max-scale": str(wanted.most)}
    volumes = [{"name": mount["name"], "emptyDir": {}} for mount in writable]
    account = {"serviceAccountName": wanted.role} if wanted.role else {}
    return _service(wanted, scale, {**account, "volumes": volumes, "containers": [container]})


def cloud_run(wanted: Wanted) -> dict[str, Any]:
    """For `gcloud run services replace`. Who may call it is said there (IAM); nobody may by default."""
    _named(wanted)
    # Its root can be written to, in memory; it gives no more than ten seconds to drain.
    probe = {"httpGet": {"path": "/ping", "port": PORT}, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 120}
    container = {**_container(wanted, {"PENSTOCK_REPLICA": f'{{"drain_s":{CLOUD_RUN_GRACE_S:g}}}'}), "startupProbe": probe}
    scale = {
        "autoscaling.knative.dev/minScale": "0",
        "autoscaling.knative.dev/maxScale": str(wanted.most),
        "run.googleapis.com/startup-cpu-boost": "true",
    }
    account = {"serviceAccountName": wanted.role} if wanted.role else {}
    return _service(wanted, scale, {**account, "containers": [container]})


def aws_lambda(wanted: Wanted) -> dict[str, Any]:
    """For `aws lambda create-function --cli-input-json`. Raises BadInput for what Lambda does not have."""
    memory = math.ceil(wanted.memory_bytes / (1 << 20))
    if not LAMBDA_MEMORY_MB[0] <= memory <= LAMBDA_MEMORY_MB[1]:
        raise BadInput(f"Lambda gives {LAMBDA_MEMORY_MB[0]} to {LAMBDA_MEMORY_MB[1]} MB of memory, not {memory}")
    if not 1 <= wanted.timeout_s <= LAMBDA_LONGEST_S:
        raise BadInput(f"Lambda answers within {LAMBDA_LONGEST_S} s at most, not {wanted.timeout_s:g}")
    if not wanted.role:
        raise BadInput("Lambda needs the role that the function takes on", remedy="Give --role arn:aws:iam::ACCOUNT:role/NAME.")
    _named(wanted)
    # Only /tmp can be written to, and the user is Lambda's own.
    places = {"HOME": "/tmp", "PENSTOCK_HOME": "/tmp/penstock", "XDG_CACHE_HOME": "/tmp/cache"}
    return {
        "FunctionName": wanted.name,
        "PackageType": "Image",
        "Code": {"ImageUri": wanted.image},
        "Role": wanted.role,
        "MemorySize": memory,
        "Timeout": math.ceil(wanted.timeout_s),
        "Architectures": ["arm64" if architecture() == "arm64" else "x86_64"],
        "Environment": {"Variables": {**places, **wanted.environment}},
    }


KINDS = {"knative": knative, "cloud-run": cloud_run, "lambda": aws_lambda}


def _container(wanted: Wanted, more: Mapping[str, str]) -> dict[str, Any]:
    limits = {"cpu": f"{round(wanted.cpus * 1000)}m", "memory": f"{math.ceil(wanted.memory_bytes / (1 << 20))}Mi"}
    return {
        "image": wanted.image,
        "args": ["serve"],
        "ports": [{"name": "http1", "containerPort": PORT}],
        "env": [{"name": name, "value": value} for name, value in {**more, **wanted.environment}.items()],
        "resources": {"limits": limits},
    }


def _service(wanted: Wanted, annotations: Mapping[str, str], spec: Mapping[str, Any]) -> dict[str, Any]:
    timing = {"containerConcurrency": wanted.concurrency, "timeoutSeconds": math.ceil(wanted.timeout_s)}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": wanted.name, "labels": {"app.kubernetes.io/managed-by": "penstock"}},
        "spec": {"template": {"metadata": {"annotations": dict(annotations)}, "spec": {**timing, **spec}}},
    }


def _named(wanted: Wanted) -> None:
    if not _NAME.fullmatch(wanted.name):
        raise BadInput(f"{wanted.name!r} cannot name a function: small letters, digits and dashes, 49 at most", remedy="Give --name.")
    if wanted.concurrency < 1 or wanted.most < 1:
        raise BadInput("--concurrency and --most are at least 1")
