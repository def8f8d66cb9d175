"""A request to a replica of one's own that may be busy, or end: asked again, and the replica started again."""

from __future__ import annotations

import asyncio

from penstock.core.errors import ReplicaFailed
from penstock.serving.batch.replica import OwnReplica
from penstock.serving.client import Lost, Reply

TRIES = 3
BUSY = (429, 503)
BUSY_PAUSE_S = 0.2


class Patient:
    def __init__(self, replica: OwnReplica) -> None:
        self._replica = replica
        self._starting = asyncio.Lock()

    async def reply(self, path: str, body: bytes) -> Reply:
        """Raises Lost when the replica was lost TRIES times over this very request, ReplicaFailed when it does not start any more."""
        last: Lost | None = None
        for _ in range(TRIES):
            try:
                return await self._once(path, body)
            except Lost as error:
                last = error
                await self._again()
        assert last is not None
        raise last

    async def _once(self, path: str, body: bytes) -> Reply:
        while True:
            client = self._replica.client
            if client is None:
                raise Lost("connect", "the replica is starting again")
            reply = await client.ask(path, body)
            if reply.status not in BUSY or not self._replica.alive:
                return reply
            await asyncio.sleep(BUSY_PAUSE_S)

    async def _again(self) -> None:
        async with self._starting:
            if not self._replica.alive or self._replica.client is None:
                try:
                    await self._replica.start()
                except ReplicaFailed:
                    await self._replica.start()  # once more; then the batch ends, and finished parts are kept
