"""Steps on several machines: an indexed Job, or a TrainJob where Kubeflow Trainer is installed; they meet, and one result stands."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.core.digests import digest_json
from penstock.core.home import Home
from penstock.platforms.contract import JobSpec
from penstock.platforms.jobs_codec import finished
from penstock.platforms.kubernetes.platform import KUBERNETES
from penstock.platforms.remote.jobs import RemoteJobs
from penstock.platforms.remote.rendezvous import Node, node_of, variables
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.jobs_suite import ended, until

STEPS = textwrap.dedent("""
    import os
    import socket
    import time

    def meet(number: int) -> int:
        \"\"\"The sum over all machines of rank + number: the first listens, the others say theirs.\"\"\"
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        place = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        if rank:
            while True:
                try:
                    with socket.create_connection(place, 5) as connection:
                        connection.sendall(str(rank + number).encode())
                        return rank + number
                except OSError:
                    time.sleep(0.05)
        total = number
        with socket.create_server(place) as server:
            for _ in range(size - 1):
                connection, _ = server.accept()
                with connection:
                    total += int(connection.recv(100))
        return total

    def reduce(number: int) -> int:
        import torch
        import torch.distributed as dist

        dist.init_process_group("gloo")
        total = torch.tensor([number + dist.get_rank()])
        dist.all_reduce(total)
        dist.destroy_process_group()
        return int(total.item())

    def break_second(number: int) -> int:
        if os.environ["RANK"] == "1":
            raise ValueError(f"{number} is too much for me")
        time.sleep(600)
        return number
""")


def job_of(folder: Path, function: str, nodes: int) -> JobSpec:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node_steps.py").write_text(STEPS)
    config = {"uses": f"node_steps:{function}", "values": {"number": 10}, "inputs": {}, "code": {}}
    return JobSpec(digest_json([function, nodes]), "run-1", function, "user", config, code_path=(str(folder),), nodes=nodes)


def opened(cluster: Cluster, folder: Path, **more: Any) -> tuple[RemoteJobs, Artifacts]:
    home = Home.find(folder, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    return KUBERNETES.jobs(home, artifacts, cluster.settings(home.folder, **more)), artifacts


def value_of(artifacts: Artifacts, job: JobSpec) -> bytes:
    result = finished(job.key, artifacts)
    assert result is not None
    return (artifacts.materialize(result.outputs["value"]) / "value.json").read_bytes()


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
