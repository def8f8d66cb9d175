"""A request to a replica of one's own that may be busy, or end: asked again, and the replica started again."""

from __future__ import annotations

import asyncio

from penstock.core.errors import ReplicaFailed
from penstock.serving.batch.replica import OwnReplica
from penstock.serving.client import Lost, Reply

TRIES = 3
BUSY = (429, 503)
BUSY_PAUSE_S = 0.2
ENDING_S, LOOK_S = 5.0, 0.05  # for which a replica may take to end after it let go of its connections


class Patient:
    """May be shared by tasks: whoever sees the replica lost first starts it again for all."""

    def __init__(self, replica: OwnReplica) -> None:
        self._replica = replica
        self._starting = asyncio.Lock()
        self._life = 0

    async def reply(self, path: str, body: bytes, tries: int = TRIES) -> Reply:
        """Raises Lost when the replica was lost `tries` times over this very request, ReplicaFailed when it does not start any more."""
        last: Lost | None = None
        for _ in range(tries):
            life = self._life
            try:
                return await self._once(path, body)
            except Lost as error:
                last = error
                await self._again(life)
        assert last is not None
        raise last

    async def _once(self, path: str, body: bytes) -> Reply:
        while True:
            client = self._replica.client
            if client is None:
                raise Lost("connect", "the replica is starting again")
            reply = await client.ask(path, body)
            if reply.status not in BUSY:
                return reply
            if not self._replica.alive:
                raise Lost("closed", "the replica ended while others were answered")
            await asyncio.sleep(BUSY_PAUSE_S)

    async def _again(self, life: int) -> None:
        """`life`: in which it was lost. One whose engine broke closes its connections some time before it ends."""
        async with self._starting:
            for _ in range(int(ENDING_S / LOOK_S)):
                if self._life != life or not self._replica.alive:
                    break
                await asyncio.sleep(LOOK_S)
            if self._life == life and (not self._replica.alive or self._replica.client is None):
                try:
                    await self._replica.start()
                except ReplicaFailed:
                    await self._replica.start()  # once more; then the batch ends, and finished parts are kept
                self._life += 1
