"""Vertex AI Pipelines: what a step's container may ask for there, and a pipeline job. Limits: "Specify the machine configuration for a
pipeline step". A task is given the size of the machine that a custom job would have; Vertex AI picks a type that has it.

Not covered: tasks that make custom jobs of their own, which several machines, TPUs and spot capacity would need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.core.errors import PlatformLacks
from penstock.platforms.contract import JobSpec
from penstock.platforms.remote.machines import GIB
from penstock.platforms.vertex.capabilities import machine_for
from penstock.platforms.vertex.google import Google, already
from penstock.platforms.vertex.machines import TYPES
from penstock.platforms.vertex.settings import labels, settings_of, store_mark
from penstock.platforms.workflows import Container

CPUS, MEMORY_GB = 96, 624  # the most that a task may ask for
ONE_MACHINE = "Leave the step to `penstock run --on NAME`: the pipeline finds its result in the artifact store. Or ask for less."
LEFT_OUT = {
    "timeout": "Vertex AI Pipelines stops a task only with its pipeline: `timeout` is not kept",
    "spot": "Vertex AI Pipelines has no spot tasks: it runs on an ordinary machine",
}


class Pipelines:
    def container(self, job: JobSpec, settings: Mapping[str, Any]) -> Container:
        told, machine = settings_of(settings), machine_for(job)
        if job.nodes > 1:
            raise PlatformLacks(f"step {job.step!r} wants {job.nodes} machines; a task of a pipeline has one", remedy=ONE_MACHINE)
        if machine.accelerator is not None and machine.accelerator not in TYPES:
            raise PlatformLacks(f"step {job.step!r} wants {machine.accelerator}; a task of a pipeline has no TPUs", remedy=ONE_MACHINE)
        memory_gb = machine.memory_bytes / GIB
        if machine.cpus > CPUS or memory_gb > MEMORY_GB:
            has = f"{machine.cpus:g} CPUs and {memory_gb:g} GB"
            raise PlatformLacks(
                f"step {job.step!r} wants {machine.name} with {has}; a task of a pipeline has {CPUS} and {MEMORY_GB} GB at most",
                remedy=ONE_MACHINE,
            )
        asked = {"timeout": job.timeout_s is not None, "spot": job.spot}
        return Container(
            told.image,
            told.environment,
            machine.cpus,
            memory_gb,
            TYPES[machine.accelerator] if machine.accelerator else None,
            machine.accelerators,
            tuple(LEFT_OUT[what] for what, wanted in asked.items() if wanted),
        )

    def start(self, name: str, document: Mapping[str, Any], store: str, settings: Mapping[str, Any]) -> str:
        told = settings_of(settings)
        row: dict[str, Any] = {
            "display_name": name,
            "pipeline_spec": dict(document),
            "runtime_config": {"gcs_output_directory": f"{store.replace('gcs://', 'gs://').rstrip('/')}/pipelines"},
            "labels": labels(told.labels, {"penstock_store": store_mark(store)}),
        }
        row |= {key: value for key, value in (("service_account", told.service_account), ("network", told.network)) if value}
        request = {"parent": told.parent, "pipeline_job_id": name, "pipeline_job": row}
        Google(told).call("PipelineService.CreatePipelineJob", request, already)
        return f"{told.parent}/pipelineJobs/{name}"


PIPELINES = Pipelines()
