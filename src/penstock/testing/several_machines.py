"""Steps for several machines: they meet by the variables that torch reads, or one of them fails."""

from __future__ import annotations

import textwrap
from pathlib import Path

from penstock.core.digests import digest_json
from penstock.platforms.contract import JobSpec
from penstock.platforms.jobs_codec import finished
from penstock.store.artifacts import Artifacts

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

    def break_last(number: int) -> int:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if rank == size - 1:
            raise ValueError(f"{number} is too much for process {rank}")
        meet(number)  # the first one waits for the last in vain
        return number

    def break_second(number: int) -> int:
        if os.environ["RANK"] == "1":
            raise ValueError(f"{number} is too much for me")
        time.sleep(600)
        return number
""")


def job_of(folder: Path, function: str, nodes: int, processes: int = 1) -> JobSpec:
    """Of one function of STEPS with the number 10; `processes`: on each node."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node_steps.py").write_text(STEPS)
    config = {"uses": f"node_steps:{function}", "values": {"number": 10}, "inputs": {}, "code": {}}
    return JobSpec(
        digest_json([function, nodes, processes]),
        "run-1",
        function,
        "user",
        config,
        code_path=(str(folder),),
        nodes=nodes,
        processes=processes,
    )


def value_of(artifacts: Artifacts, job: JobSpec) -> bytes:
    """What the step gave, as JSON. Raises AssertionError when it has not ended well."""
    result = finished(job.key, artifacts)
    assert result is not None
    return (artifacts.materialize(result.outputs["value"]) / "value.json").read_bytes()
