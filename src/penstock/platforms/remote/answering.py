"""What answers a share of a batch's shards where a vendor's service starts commands rather than containers that serve.

The order lies in the store; lines of shards are requests (`{"instances": […]}`) to a replica of one's own; a shard's answers are written
once it is done, so that they are seen while the others go on. An order over which the replica dies three times is told with status 0.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from penstock.core.errors import Interrupted
from penstock.platforms.batches import BatchOrder
from penstock.serving.batch.patient import TRIES, Patient
from penstock.serving.batch.replica import OwnReplica
from penstock.serving.client import Lost

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

ROUTE = "/invocations"


def answer(order: BatchOrder, part: int, artifacts: Artifacts, folder: Path, more: dict[str, Any], stopping: Callable[[], bool]) -> int:
    """Answers every `instances`th shard from `part` on that has no answers yet; how many. `more`: further fields of the replica's spec.

    Raises Interrupted when asked to stop, ReplicaFailed, ArtifactMissing, ArtifactCorrupt.
    """
    done = {name.rpartition("/")[2].removesuffix(".out") for name in artifacts.notes(order.answered)}
    mine = [shard for shard in sorted(order.shards)[part :: order.instances] if shard not in done]
    if mine:
        asyncio.run(_answered(order, mine, artifacts, folder, more, stopping))
    return len(mine)


async def _answered(
    order: BatchOrder, shards: Sequence[str], artifacts: Artifacts, folder: Path, more: dict[str, Any], stopping: Callable[[], bool]
) -> None:
    bundle = str(await asyncio.to_thread(artifacts.materialize, order.bundle))
    spec = {"id": "batch", "bundle": bundle, "digest": order.bundle, "model": order.model, "version": "batch", "invoked": True}
    spec |= {"limits": dict(order.limits), **more}
    async with OwnReplica(spec, folder, order.concurrency) as replica:
        patient, places = Patient(replica), asyncio.Semaphore(order.concurrency)

        async def one(line: bytes) -> list[dict[str, Any]]:
            async with places:
                return await _line(patient, line)

        for shard in shards:
            if stopping():
                raise Interrupted("stopped; shards that were answered are kept")
            data = artifacts.get_note(f"{order.asked}/{shard}") or b""
            found = await asyncio.gather(*(one(line) for line in data.splitlines()))
            answers = b"".join(orjson.dumps({"predictions": rows}) + b"\n" for rows in found)
            artifacts.put_note(f"{order.answered}/{shard}.out", answers)


async def _line(patient: Patient, line: bytes) -> list[dict[str, Any]]:
    """What became of each order of a line; where they did not survive together, of each by itself."""
    orders = json.loads(line)["instances"]
    try:
        reply = await patient.reply(ROUTE, line, TRIES if len(orders) == 1 else 1)
        return list(json.loads(reply.body)["predictions"])
    except Lost as error:
        if len(orders) > 1:
            return [row for order in orders for row in await _line(patient, orjson.dumps({"instances": [order]}))]
        told = {"error": {"code": error.kind, "message": str(error)}}
        return [{"row": orders[0]["row"], "status": 0, "body": json.dumps(told)}]
