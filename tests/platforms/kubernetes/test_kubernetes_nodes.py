"""Steps on several machines: an indexed Job, or a TrainJob where Kubeflow Trainer is installed; they meet, and one result stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.core.digests import digest_json
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.platforms.local.jobs import LocalJobs
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.rendezvous import Node, node_of, place_of, variables
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.jobs_suite import ended, until
from penstock.testing.several_machines import job_of, value_of


def opened(cluster: Cluster, folder: Path, **more: Any) -> tuple[RemoteJobs, Artifacts]:
    home = Home.find(folder, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    return KUBERNETES.jobs(home, artifacts, cluster.settings(home.folder, **more)), artifacts


def test_three_pods_of_an_indexed_job_meet_and_the_first_ones_result_stands(cluster: Cluster, tmp_path: Path) -> None:
    jobs, artifacts = opened(cluster, tmp_path)
    job = job_of(tmp_path / "code", "meet", 3)
    state = ended(jobs, jobs.submit(job), 60)
    assert state.phase == "succeeded", state.error
    assert value_of(artifacts, job) == b"33"
    ranks = {order.name.split(".")[0].rpartition("-")[0][-1] for order in cluster.processes.folder.iterdir()}
    assert ranks == {"0", "1", "2"}
    until(lambda: not cluster.world.all("Job") and not cluster.world.all("Service"))
    jobs.close()


def test_two_processes_in_each_of_two_pods_meet(cluster: Cluster, tmp_path: Path) -> None:
    jobs, artifacts = opened(cluster, tmp_path)
    job = job_of(tmp_path / "code", "meet", 2, processes=2)
    handle = jobs.submit(job)
    container = cluster.world.all("Job")[0]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "PET_NPROC_PER_NODE", "value": "2"} in container["env"]
    state = ended(jobs, handle, 60)
    assert state.phase == "succeeded", state.error
    assert value_of(artifacts, job) == b"46"
    jobs.close()


def test_one_of_two_processes_that_fails_ends_the_other_pod_too(cluster: Cluster, tmp_path: Path) -> None:
    jobs, _ = opened(cluster, tmp_path)
    job = job_of(tmp_path / "code", "break_last", 2, processes=2)
    state = ended(jobs, jobs.submit(job), 60)
    assert state.phase == "failed"
    assert "10 is too much for process 3" in str((state.error or {})["message"])
    until(lambda: not cluster.pods())
    jobs.close()


def test_a_machine_that_works_along_may_fail_and_says_why(cluster: Cluster, tmp_path: Path) -> None:
    jobs, _ = opened(cluster, tmp_path)
    state = ended(jobs, jobs.submit(job_of(tmp_path / "code", "break_second", 2)), 60)
    assert state.phase == "failed"
    assert state.error is not None
    assert "10 is too much for me" in str(state.error["message"])
    until(lambda: not cluster.pods())
    jobs.close()


def test_kubeflow_trainer_runs_it_where_it_is_installed(clusters: Callable[..., Cluster], crd_folder: Path, tmp_path: Path) -> None:
    cluster = clusters(crds=crd_folder)
    jobs, artifacts = opened(cluster, tmp_path)
    job = job_of(tmp_path / "code", "meet", 2)
    handle = jobs.submit(job)
    made = cluster.world.all("TrainJob")[0]
    assert made["spec"]["trainer"]["numNodes"] == 2
    state = ended(jobs, handle, 60)
    assert state.phase == "succeeded", state.error
    assert value_of(artifacts, job) == b"21"
    until(lambda: not cluster.world.all("TrainJob") and not cluster.world.all("Job") and not cluster.world.all("Service"))
    long = replace(job_of(tmp_path / "code", "break_second", 2), key=digest_json("long"))
    settings = {**long.config, "uses": "node_steps:meet"}
    handle = jobs.submit(replace(long, config=settings, nodes=2))
    until(lambda: cluster.pods())
    jobs.cancel(handle)
    until(lambda: jobs.observe(handle).phase in ("cancelled", "succeeded"))
    until(lambda: not cluster.world.all("TrainJob") and not cluster.pods())
    jobs.close()


@pytest.mark.models
def test_torch_distributed_meets_through_the_same_variables(cluster: Cluster, tmp_path: Path) -> None:
    jobs, artifacts = opened(cluster, tmp_path)
    job = job_of(tmp_path / "code", "reduce", 2)
    state = ended(jobs, jobs.submit(job), 120)
    assert state.phase == "succeeded", state.error
    assert value_of(artifacts, job) == b"21"
    jobs.close()


@pytest.mark.models
@pytest.mark.thorough
@pytest.mark.timeout(600)
def test_training_gives_the_same_bytes_on_two_by_two_processes_as_on_four_of_this_machine(cluster: Cluster, tmp_path: Path) -> None:
    """The training itself is tested by tests/stages/train/test_team.py; here it goes through platforms."""
    made = {}
    for name, nodes, processes in (("k8s", 2, 2), ("here", 1, 4)):
        place = tmp_path / name
        jobs, artifacts = opened(cluster, place) if nodes == 2 else here(place)
        job = training_job(artifacts, tmp_path / f"{name}-verses", nodes, processes)
        state = ended(jobs, jobs.submit(job), 280)
        assert state.phase == "succeeded", state.error
        assert state.result is not None
        made[name] = state.result
        jobs.close()
    assert made["k8s"].outputs == made["here"].outputs
    assert made["k8s"].metrics["steps"] == 12


def here(place: Path) -> tuple[LocalJobs, Artifacts]:
    home = Home.find(place, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    return LocalJobs(home, artifacts, workers=1), artifacts


def training_job(artifacts: Artifacts, folder: Path, nodes: int, processes: int) -> JobSpec:
    """A small decoder on a few verses, twelve steps."""
    folder.mkdir()
    words = ("rose", "river", "tower", "moon", "garden", "snow", "sea")
    lines = [f"the {a} of the {b} is on the {c}\n" for a in words for b in words for c in words[:4]]
    for split, chosen in (("train", lines[:-40]), ("validation", lines[-40:])):
        pq.write_table(pa.table({"id": ["r0"], "text": ["".join(chosen)]}), folder / f"{split}.parquet")
    shape = {"layers": 2, "hidden": 32, "heads": 2, "context": 16, "vocabulary": 300}
    train = Train.model_validate({"method": {"pretrain": shape}, "steps": 12, "batch_size": 8, "precision": "fp32"})
    config = TrainConfig(task="text-generation", base_digest=None, train=train).model_dump(mode="json", by_alias=True, exclude_none=True)
    inputs = {"dataset": artifacts.commit(folder, "dataset", {}).digest}
    return JobSpec(digest_json(["train", nodes]), "run-1", "train", "train", config, inputs, cpus=2, nodes=nodes, processes=processes)


def test_one_machine_alone_needs_nothing() -> None:
    assert node_of({}) == Node(0, 1)
    several = {"PET_NNODES": "4", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "a-0.a", "PET_MASTER_PORT": "29400", "MASTER_PORT": "1"}
    node, place = node_of(several), place_of(node_of(several), several)
    assert (node, place) == (Node(2, 4), ("a-0.a", "29400"))
    told = {"MASTER_ADDR": "a-0.a", "MASTER_PORT": "29400", "GROUP_RANK": "2"}
    assert variables(node, place) == {**told, "RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    last = {"RANK": "23", "WORLD_SIZE": "32", "LOCAL_RANK": "7", "LOCAL_WORLD_SIZE": "8"}
    assert variables(node, place, 8, 7) == {**told, **last}


def test_azure_says_it_by_the_variables_of_one_process_a_machine() -> None:
    said = {"MASTER_ADDR": "10.0.0.4", "MASTER_PORT": "6105", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "NODE_RANK": "1"}
    assert node_of(said) == Node(1, 2)
    assert place_of(node_of(said), said) == ("10.0.0.4", "6105")
