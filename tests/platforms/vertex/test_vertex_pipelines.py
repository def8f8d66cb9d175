"""Exported pipelines on Vertex AI Pipelines: the emulator reads the IR strictly and runs its containers; a run of the file follows."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.control.api import run
from penstock.control.exporting.tasks import Task
from penstock.control.graph import Binding, Node
from penstock.control.kfp.export import Exported, export
from penstock.control.kfp.ir import pipeline_spec
from penstock.core.errors import BadInput, PlatformDenied, PlatformLacks
from penstock.core.home import Home
from penstock.platforms.jobs_codec import finished
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.left import left
from penstock.platforms.vertex.pipelines import PIPELINES
from penstock.platforms.vertex.settings import settings_of
from penstock.platforms.workflows import Container
from penstock.store.artifacts import Artifacts
from penstock.store.store import Store
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex import jobs as custom_jobs
from penstock.testing.emulators.vertex.errors import VertexError
from penstock.testing.emulators.vertex.pipeline_spec import parsed
from penstock.testing.emulators.vertex.pipelines import ENDED, KIND, Pipeline, settle
from penstock.testing.everywhere import Command
from penstock.testing.exported import keys, sums, write
from penstock.testing.jobs_suite import until, user_job

TEXT = "the quick brown fox jumps over the lazy dog while rain falls on small green hills near a quiet town"
PIPELINE = {
    "name": "writer",
    "task": "text-generation",
    "data": {"sources": [{"uri": "rows.jsonl"}], "clean": []},
    "train": {
        "method": {"pretrain": {"layers": 1, "hidden": 64, "heads": 2, "context": 64, "vocabulary": 300}},
        "steps": 20,
        "batch_size": 8,
    },
    "evaluate": {"resamples": 200, "latency_requests": 10},
    "gates": ["bits_per_character <= 12"],
    "deploy": {"to": "laptop"},
}
WAIT_S = 240.0  # for a busy machine


@pytest.fixture
def project(cloud: VertexAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of user steps, whose artifacts lie in a bucket."""
    write(tmp_path, cloud.section(), sums(tmp_path / "tries"), "gcp")
    monkeypatch.setenv("PENSTOCK_ARTIFACTS", f"{cloud.bucket()}/store")
    return tmp_path


def started(cloud: VertexAI, made: Exported) -> Pipeline:
    """The pipeline job once it is over."""
    job: Pipeline = cloud.here.of(KIND)[made.job]
    deadline = time.monotonic() + WAIT_S
    while job.row.state not in ENDED:
        assert time.monotonic() < deadline, {name: task.row.state for name, task in job.tasks.items()}
        time.sleep(0.05)
        with cloud.here.lock:
            settle(cloud.here, job)
    return job


def states(job: Pipeline) -> dict[str, str]:
    return {name: task.row.state.name for name, task in job.tasks.items()}


def test_a_run_finds_what_the_pipeline_built(cloud: VertexAI, project: Path) -> None:
    made = export(project / "penstock.yaml", on="gcp", start=True)
    job = started(cloud, made)
    assert states(job) == {"table": "SUCCEEDED", "total": "SUCCEEDED"}
    result = run(project / "penstock.yaml", on="gcp")
    assert result.status == "succeeded"
    assert keys(result) == {name: task.outputs["penstock_key"] for name, task in job.tasks.items()}
    assert not cloud.here.of(custom_jobs.KIND)
    assert (project / "tries").read_text() == "x"
    store = Store.open(Home.find(project))
    try:
        digest = next(one["digest"] for one in result.artifacts if one["step"] == "total")
        assert json.loads((store.artifacts.materialize(digest) / "value.json").read_text()) == 33
        assert made.tasks[1]["template"] in json.dumps(store.resources.list("export", name="sums")[0].spec)
    finally:
        store.close()


def test_caching_is_ours_and_parameters_enter_keys(cloud: VertexAI, project: Path) -> None:
    """A second start runs each container, which finds its key; an output that is gone is built again, which KFP's cache would not know."""
    made = export(project / "penstock.yaml", on="gcp", parameters=["steps.table.with.times"])
    assert made.parameters == {"steps_table_with_times": {"path": "steps.table.with.times", "default": 10}}
    made.document["root"]["inputDefinitions"]["parameters"]["steps_table_with_times"]["defaultValue"] = 7
    home, section = Home.find(project), cloud.section()
    first = started(cloud, replace(made, job=PIPELINES.start("one", made.document, home.artifacts_url, section)))
    artifacts = Artifacts(home.artifacts_url, home.cache)
    table, before = (finished(first.tasks[name].outputs["penstock_key"], artifacts) for name in ("table", "total"))
    assert table is not None
    assert before is not None
    artifacts.drop(before.outputs["value"])
    again = started(cloud, replace(made, job=PIPELINES.start("two", made.document, home.artifacts_url, section)))
    assert states(again) == {"table": "SUCCEEDED", "total": "SUCCEEDED"}
    seen = Artifacts(home.artifacts_url, home.cache)
    assert finished(table.key, seen) == table
    after = finished(before.key, seen)
    assert after is not None
    assert after.outputs == before.outputs
    assert (project / "tries").read_text() == "xx"
    result = run(project / "penstock.yaml", overrides=["steps.table.with.times=7"], on="gcp")
    assert keys(result) == {"table": table.key, "total": before.key}
    assert not cloud.here.of(custom_jobs.KIND)


def test_what_failed_for_good_is_not_done_again(cloud: VertexAI, project: Path) -> None:
    """KFP starts the container three times whatever it ended by: the first failure may pass, the second is for good, the third an echo."""
    tries = project / "failed"
    retry = {"attempts": 3, "backoff": "10ms"}
    write(project, cloud.section(), [{"name": "fail", "uses": "work:fail", "with": {"tries": str(tries)}, "retry": retry}], "gcp")
    job = started(cloud, export(project / "penstock.yaml", on="gcp", start=True))
    assert job.row.state.name == "PIPELINE_STATE_FAILED"
    assert job.tasks["fail"].tries == 3
    assert tries.read_text() == "xx"


def test_a_lost_answer_starts_no_second_pipeline_and_one_that_runs_is_told(cloud: VertexAI, project: Path) -> None:
    cloud.here.faults.plan("lose_answer", "CreatePipelineJob")
    made = export(project / "penstock.yaml", on="gcp", start=True)
    assert list(cloud.here.of(KIND)) == [made.job]
    google, store = Google(settings_of(cloud.section())), Home.find(project).artifacts_url
    assert made.job is not None
    assert left(google, store) == [f"pipeline {made.job.rpartition('/')[2]}"]
    google.call("PipelineService.CancelPipelineJob", {"name": made.job})
    until(lambda: not left(google, store), WAIT_S)
    assert states(cloud.here.of(KIND)[made.job]) == {"table": "CANCELLED", "total": "CANCELLED"}
    google.call("PipelineService.DeletePipelineJob", {"name": made.job})
    cloud.here.identities.denied.add("CreatePipelineJob")
    with pytest.raises(PlatformDenied, match="CreatePipelineJob"):
        export(project / "penstock.yaml", on="gcp", start=True)


def test_what_cannot_be_exported_says_why(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PlatformLacks, match="kind: local"):
        export(project / "penstock.yaml")
    with pytest.raises(BadInput, match=r"steps\.total\.with\.times") as caught:
        export(project / "penstock.yaml", on="gcp", parameters=["steps.total.with.times"])
    assert "steps.table.with.times" in caught.value.way_out
    monkeypatch.delenv("PENSTOCK_ARTIFACTS")
    with pytest.raises(PlatformLacks, match="lies on this machine"):
        export(project / "penstock.yaml", on="gcp")


def test_the_command_writes_both_forms(cloud: VertexAI, project: Path) -> None:
    spot = {"name": "table", "uses": "work:table", "with": {"value": 3, "times": 10}, "resources": {"spot": True}}
    write(project, cloud.section(), [spot], "gcp")
    command = Command(project, {**cloud.environment, "PENSTOCK_ARTIFACTS": os.environ["PENSTOCK_ARTIFACTS"]})
    told = command("export", "kfp", "--on", "gcp", "-o", "pipeline.yaml")
    assert yaml.safe_load((project / "pipeline.yaml").read_text()) == told["document"]
    assert [(one["step"], "spot" in one["why"]) for one in told["left_out"]] == [("table", True)]
    assert told["job"] is None
    assert not cloud.here.of(KIND)
    assert command("export", "kfp", "--on", "gcp", "-o", "pipeline.json")["document"] == json.loads((project / "pipeline.json").read_text())


def test_a_task_is_the_machine_that_a_job_would_have(cloud: VertexAI, tmp_path: Path) -> None:
    def container(**asked: Any) -> Container:
        return PIPELINES.container(user_job(tmp_path / "code", "double", {"number": 1}, **asked), cloud.section(environment={"A": "b"}))

    plain = container(cpus=6)
    assert (plain.cpus, plain.memory_gb, plain.accelerator, plain.environment) == (8, 30, None, {"A": "b"})
    gpu = container(gpus=2, gpu_type="t4")
    assert (gpu.accelerator, gpu.accelerators, gpu.cpus) == ("NVIDIA_TESLA_T4", 2, 16)
    assert [text.partition(":")[0] for text in container(spot=True, timeout_s=60.0).left_out] == [
        "Vertex AI Pipelines stops a task only with its pipeline",
        "Vertex AI Pipelines has no spot tasks",
    ]
    for asked, why in (
        ({"nodes": 2}, "2 machines"),
        ({"gpus": 4, "gpu_type": "tpu-v5e"}, "no TPUs"),
        ({"machine": "m1-ultramem-80"}, "624 GB at most"),
    ):
        with pytest.raises(PlatformLacks, match=why):
            container(**asked)


def two_steps() -> dict[str, Any]:
    """As they are exported, without sending anything."""
    config = {"uses": "work:f", "values": {}, "inputs": {}, "code": {}}
    table, total = Node("table", "user", config), Node("total", "user", config, {"folder": Binding("table", "made")})
    has = Container("image:1", {"A": "b"}, 4, 15, "NVIDIA_TESLA_T4", 1)
    return pipeline_spec(
        "sums", [Task(table, "table", "gs://b/s#1", has, ("made",), ()), Task(total, "total", "gs://b/s#2", has, (), ())], []
    )


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        *folders, last = path.split("/")
        place: Any = document
        for folder in folders:
            place = place[folder]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put("schemaVersion", "2.0.0"), "schemaVersion"),
        (put("root/dag/tasks/table/retries", 3), "Extra inputs"),
        (put("root/dag/tasks/total/dependentTasks", []), "not among its dependentTasks"),
        (put("root/dag/tasks/table/dependentTasks", ["total"]), "wait for each other"),
        (put("root/dag/tasks/table/componentRef/name", "comp-none"), "no component"),
        (put("root/dag/tasks/total/inputs/parameters/folder", {"componentInputParameter": "x"}), "no input x"),
        (put("root/dag/tasks/table/inputs/parameters/more", {"runtimeValue": {"constant": "x"}}), "no input more"),
        (put("components/comp-table/outputDefinitions/parameters/made/parameterType", "BOOLEAN"), "is given BOOLEAN"),
        (put("deploymentSpec/executors/exec-table/container/args", ["{{$.inputs.parameters['none']}}"]), "refers to nothing"),
        (put("deploymentSpec/executors/exec-table/container/args", ["{{$.pipeline_job_uuid}}"]), "not known"),
        (put("deploymentSpec/executors/exec-table/container/resources/cpuLimit", 97), "less than or equal to 96"),
    ],
)
def test_the_emulator_reads_strictly(change: Callable[[dict[str, Any]], None], why: str) -> None:
    document = two_steps()
    parsed(document)
    change(document)
    with pytest.raises(VertexError, match=why):
        parsed(document)


def test_the_published_schema_takes_it() -> None:
    """`pip install --no-deps --target FOLDER kfp-pipeline-spec`, and FOLDER on PYTHONPATH: its pin of protobuf is below ours."""
    published = pytest.importorskip("kfp.pipeline_spec.pipeline_spec_pb2")
    from google.protobuf import json_format

    document = two_steps()
    whole = json_format.ParseDict(document, published.PipelineSpec())
    deployment = json_format.ParseDict(document["deploymentSpec"], published.PipelineDeploymentConfig())
    assert list(whole.root.dag.tasks["total"].dependent_tasks) == ["table"]
    assert deployment.executors["exec-total"].container.resources.accelerator.count == 1


@pytest.mark.models
@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_a_model_is_trained_there(cloud: VertexAI, tmp_path: Path) -> None:
    """By the real commands: exported and started, then a run finds all of it and registers the version."""
    words = TEXT.split()
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": " ".join(words[i % 7 :] + words[: i % 11])}) for i in range(400)))
    file = {**PIPELINE, "platforms": {"laptop": {"kind": "local"}, "gcp": cloud.section()}}
    (tmp_path / "penstock.yaml").write_text(json.dumps({name: value for name, value in file.items() if name != "deploy"}))
    command = Command(tmp_path, {**cloud.environment, "PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"})
    told = command("export", "kfp", "penstock.yaml", "--on", "gcp", "-o", "pipeline.yaml", "--parameter", "train.steps", "--submit")
    job = started(cloud, Exported("writer", "gcp", {}, [], [], job=told["job"]))
    assert set(states(job).values()) == {"SUCCEEDED"}
    result = command("run", "--on", "gcp")
    assert {step["name"]: step["key"] for step in result["steps"]} == {n: task.outputs["penstock_key"] for n, task in job.tasks.items()}
    assert result["model"]["version"] == 1
    assert not cloud.here.of(custom_jobs.KIND)
