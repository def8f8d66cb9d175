"""Steps on several machines: an indexed Job, or a TrainJob where Kubeflow Trainer is installed; they meet, and one result stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.core.digests import digest_json
from penstock.core.home import Home
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.rendezvous import Node, node_of, variables
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


def test_one_machine_alone_needs_nothing() -> None:
    assert node_of({}) == Node(0, 1)
    assert variables({}) == {}
    several = {"PET_NNODES": "4", "PET_NODE_RANK": "2", "PET_MASTER_ADDR": "a-0.a", "PET_MASTER_PORT": "29400", "MASTER_PORT": "1"}
    assert variables(several) == {"MASTER_ADDR": "a-0.a", "RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}
