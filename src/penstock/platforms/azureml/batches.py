"""Batches by a batch endpoint whose deployment is a pipeline component: a step for each machine, each a command of our image.

A deployment of a model would want Azure's own scoring script around ours; a pipeline of commands wants nothing but containers. The
components are named by what they hold and stay, like environments; endpoint and deployment are of one batch and go with it. Invoking has
no token that makes it idempotent: what came of it is found by a tag that the deployment puts on its jobs.
Source: the ARM schema of 2026-05-01; "Create jobs and input data for batch endpoints"; component specs as Azure's own client writes them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import PlatformAway, PlatformLacks
from penstock.platforms.azureml.arm import Arm, busy, not_there
from penstock.platforms.azureml.driver import JOB_PHASES, sight_of
from penstock.platforms.azureml.environments import JOBS, Environments
from penstock.platforms.azureml.machines import PRICES_OF, TRAINING, priced
from penstock.platforms.azureml.naming import TAG, store_mark, tags
from penstock.platforms.batches import WITHOUT_VENDOR, Answer, BatchOrder, answer_of, published, told
from penstock.platforms.quotes import Quote, quoted
from penstock.platforms.remote.driver import Sight
from penstock.platforms.remote.machines import Machine, Need, choose
from penstock.platforms.remote.retrying import patiently

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

BATCH, DEPLOYMENT, COMPONENT = "penstock-batch", "answers", "penstock-batch"
SETTLES_S, LOOK_S = 600.0, 1.0  # for which an endpoint or a deployment may be on its way
_NEED = Need(cpus=2, memory_bytes=4 << 30)
_SCHEMAS = "https://azuremlschemas.azureedge.net/latest"


@dataclass(slots=True)
class BatchEndpoints:
    """The Batches."""

    arm: Arm
    artifacts: Artifacts
    service: str = "Azure ML batch endpoint"
    grouped: bool = True
    most_bytes: int = 64 << 20
    sleep: Callable[[float], None] = time.sleep

    def machine(self, wanted: str | None, instances: int) -> Machine:  # noqa: ARG002 (as every platform has it)
        cluster = self.arm.settings.compute
        if cluster is not None and cluster.instance_types:
            raise PlatformLacks(f"batch endpoints are not asked for on the attached cluster {cluster.name!r}", remedy=WITHOUT_VENDOR)
        name = wanted or (cluster.machine if cluster is not None else self.arm.settings.machine)
        return choose(priced(TRAINING, self.arm.settings.usd_per_hour), Need(machine=name) if name else _NEED, self.service)

    def quote(self, machine: Machine, instances: int) -> Quote:
        where = f"{self.arm.settings.workspace} ({self.arm.settings.region})"
        calls = (f"PUT batchEndpoints in {where}", "PUT deployments", f"POST to its scoring address: {instances} × {machine.name}")
        listed = machine.usd_per_h is not None and machine.name not in self.arm.settings.usd_per_hour
        return quoted(machine, instances, False, calls, PRICES_OF if listed else None)

    def submit(self, order: BatchOrder) -> None:
        component = self._pipeline(order)
        endpoint = f"batchEndpoints/{endpoint_name(order)}"
        self.arm.call("PUT", endpoint, self.endpoint(), busy)
        score = str(self._settled(endpoint)["scoringUri"])
        self.arm.call("PUT", f"{endpoint}/deployments/{DEPLOYMENT}", self.deployment(order, component), busy)
        self._settled(f"{endpoint}/deployments/{DEPLOYMENT}")
        place = f"{self.artifacts.url}#{published(self.artifacts, order)}"
        patiently(lambda: self._invoked(order, score, place), lambda error: isinstance(error, PlatformAway), self.arm.patience)

    def endpoint(self) -> dict[str, Any]:
        return {"location": self.arm.settings.region, "tags": self._tags(), "properties": {"authMode": "AADToken"}}

    def deployment(self, order: BatchOrder, component: str) -> dict[str, Any]:
        cluster = self.arm.settings.compute
        configuration = {
            "deploymentConfigurationType": "PipelineComponent",
            "componentId": {"referenceType": "Id", "assetId": component},
            "settings": {"default_compute": "serverless" if cluster is None else cluster.name, "continue_on_step_failure": "True"},
            "tags": {**self._tags(), BATCH: order.name},
        }
        return {"location": self.arm.settings.region, "tags": self._tags(), "properties": {"deploymentConfiguration": configuration}}

    def observe(self, order: BatchOrder) -> Sight | None:
        """Of twins, which a lost answer could leave, the first one counts and the others are ended."""
        rows = self._found(order)
        for twin in rows[1:]:
            if JOB_PHASES.get(twin["properties"]["status"]) in ("pending", "running"):
                self._cancel(twin["name"])
        if not rows:
            return None
        run = self.arm.history(rows[0]["name"], not_there)
        return sight_of(rows[0]["properties"], run.body if run is not None else {})

    def cancel(self, order: BatchOrder) -> None:
        for row in self._found(order):
            self._cancel(row["name"])

    def collect(self, order: BatchOrder, known: Collection[str]) -> Iterator[tuple[str, Iterator[Answer]]]:
        for name in self.artifacts.notes(order.answered):
            if name not in known:
                yield name, _answers(self.artifacts.get_note(name) or b"")

    def tail(self, order: BatchOrder) -> Sequence[str]:
        return told(self.artifacts, order)

    def remove(self, order: BatchOrder) -> None:
        """The endpoint with its deployment. Its job's row stays, as the record of what was paid."""
        endpoint = f"batchEndpoints/{endpoint_name(order)}"
        for _ in range(int(SETTLES_S / LOOK_S)):
            if self.arm.call("DELETE", endpoint, known=lambda refusal: not_there(refusal) or busy(refusal)) is not None:
                return
            if self.arm.call("GET", endpoint, known=not_there) is None:
                return
            self.sleep(LOOK_S)

    def _invoked(self, order: BatchOrder, score: str, place: str) -> None:
        """Before each try we look whether an earlier one came."""
        if not self._found(order):
            body = {"properties": {"InputData": {"order": {"JobInputType": "Literal", "Value": place}}}}
            self.arm.invoke(score, DEPLOYMENT, body)

    def _found(self, order: BatchOrder) -> list[Mapping[str, Any]]:
        """The pipeline jobs of that batch, the oldest first."""
        rows = [row for row in self.arm.pages("jobs", tag=BATCH) if (row["properties"].get("tags") or {}).get(BATCH) == order.name]
        return sorted(rows, key=lambda row: (str((row.get("systemData") or {}).get("createdAt", "")), row["name"]))

    def _cancel(self, job: str) -> None:
        self.arm.call("POST", f"jobs/{job}/cancel", known=lambda refusal: refusal.status in (400, 404, 409))

    def _settled(self, below: str) -> Mapping[str, Any]:
        """Its properties, once it is made. Raises PlatformAway when that takes too long or came to nothing."""
        for _ in range(int(SETTLES_S / LOOK_S)):
            found = self.arm.call("GET", below, known=not_there)
            state = found.body["properties"]["provisioningState"] if found is not None else "Creating"
            if found is not None and state == "Succeeded":
                properties: Mapping[str, Any] = found.body["properties"]
                return properties
            if state in ("Failed", "Canceled"):
                break
            self.sleep(LOOK_S)
        raise PlatformAway(f"{below} is {state.lower()} after {SETTLES_S:g} s at most")

    def _pipeline(self, order: BatchOrder) -> str:
        """Resource id of the pipeline component, there after this."""
        environment = Environments(self.arm).of(JOBS)
        inputs = {"order": {"type": "string"}, "part": {"type": "string"}}
        command = "penstock answer ${{inputs.order}} --part ${{inputs.part}}"
        about = {"command": command, "environment": f"azureml:{environment}", "inputs": inputs, "is_deterministic": False}
        step = self._component("command", {"$schema": f"{_SCHEMAS}/commandComponent.schema.json", "type": "command", **about})
        jobs = {f"part_{part}": self._step(order, step, part) for part in range(order.instances)}
        spec = {"$schema": f"{_SCHEMAS}/pipelineComponent.schema.json", "type": "pipeline", "inputs": {"order": {"type": "string"}}}
        return self._component("pipeline", {**spec, "jobs": jobs})

    def _step(self, order: BatchOrder, component: str, part: int) -> dict[str, Any]:
        settings = self.arm.settings
        row: dict[str, Any] = {
            "name": f"part_{part}",
            "type": "command",
            "componentId": component,
            "inputs": {
                "order": {"job_input_type": "literal", "value": "${{parent.inputs.order}}"},
                "part": {"job_input_type": "literal", "value": str(part)},
            },
            "environment_variables": dict(settings.environment),
            "limits": {"job_limits_type": "Command", "timeout": f"PT{int(settings.longest)}S"},
            "resources": {"instance_count": 1},
        }
        if settings.compute is None:
            row["resources"]["instance_type"] = order.machine
            row["queue_settings"] = {"job_tier": "Standard"}
        if settings.identity is not None:
            row["identity"] = {"identity_type": "Managed", "resource_id": settings.identity}
        return row

    def _component(self, kind: str, spec: Mapping[str, Any]) -> str:
        name = f"{COMPONENT}-{kind}"
        version = hex_of(digest_json(dict(spec)))[:16]
        below = f"components/{name}/versions/{version}"
        if self.arm.call("GET", below, known=not_there) is None:
            whole = {"name": name, "version": version, **spec, "_source": "YAML.COMPONENT"}
            properties = {"componentSpec": whole, "isAnonymous": False, "tags": tags(self.arm.settings.tags)}
            self.arm.call("PUT", below, {"properties": properties})
        return f"{self.arm.workspace}/{below}"

    def _tags(self) -> dict[str, str]:
        return tags(self.arm.settings.tags, {TAG: store_mark(self.artifacts.url)})


def endpoint_name(order: BatchOrder) -> str:
    """3 to 32 letters, digits and '-', its own in a region."""
    return f"penstock-b-{re.sub(r'[^a-z0-9]', '', order.name.removeprefix('penstock-batch-'))[-20:]}"


def _answers(data: bytes) -> Iterator[Answer]:
    for line in data.splitlines():
        yield from (answer_of(row) for row in json.loads(line)["predictions"])
