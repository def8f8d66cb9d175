"""The lanes of a decoder: the base, and one for each LoRA adapter that is loaded.

OpenVINO GenAI takes adapters into a continuous-batching pipeline only when it is built, so each adapter has a pipeline of its own and,
with it, a copy of the weights in the runtime's layout: memory grows by about the model with each adapter. In return base and
adapters run side by side, and loading one disturbs nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.core.errors import BadInput, EngineClosed
from penstock.engines.lane import Lane
from penstock.engines.lora import Adapter, read_adapter

MakeLane = Callable[[Adapter | None], Lane]


class Lanes:
    """`make` builds a lane, which takes as long as opening the engine."""

    def __init__(self, make: MakeLane) -> None:
        self._make = make
        self.base = make(None)
        self._adapters: dict[str, tuple[str, Lane]] = {}  # digest and lane by name
        self._retired: list[Lane] = []  # unloaded, with answers on them
        self._changing = asyncio.Lock()
        self._closed = False

    @property
    def all(self) -> list[Lane]:
        return [self.base, *(lane for _, lane in self._adapters.values()), *self._retired]

    @property
    def names(self) -> Sequence[str]:
        return sorted(self._adapters)

    @asynccontextmanager
    async def taken(self, adapter: str | None) -> AsyncGenerator[Lane, None]:
        """The lane of `adapter`, or the base's, kept while it is in use. Raises BadInput for a name that is not loaded."""
        if adapter is not None and adapter not in self._adapters:
            raise BadInput(f"no adapter {adapter!r:.80} is loaded (loaded: {', '.join(self.names) or 'none'})")
        lane = self.base if adapter is None else self._adapters[adapter][1]
        lane.users += 1
        try:
            yield lane
        finally:
            lane.users -= 1
            if lane.users == 0 and lane in self._retired:
                self._retired.remove(lane)
                await lane.close()

    async def load(self, name: str, folder: Path) -> None:
        """Loads or replaces `name`; the same weights again change nothing. Raises BadInput for an adapter that does not fit the base."""
        if not name:
            raise BadInput("an adapter needs a name")
        async with self._changing:
            adapter = await asyncio.to_thread(read_adapter, folder)
            if self._adapters.get(name, ("",))[0] == adapter.key:
                return
            lane = await asyncio.to_thread(self._make, adapter)
            if self._closed:
                await lane.close()
                raise EngineClosed("the engine was closed while the adapter was loaded")
            before, self._adapters[name] = self._adapters.get(name), (adapter.key, lane)
            await self._retire(before)

    async def unload(self, name: str) -> None:
        """Answers that are on it end as they began; a name that is not loaded is no error."""
        async with self._changing:
            await self._retire(self._adapters.pop(name, None))

    async def close(self) -> None:
        self._closed = True
        for lane in self.all:
            await lane.close()

    async def _retire(self, gone: tuple[str, Lane] | None) -> None:
        if gone is not None and gone[1].users:
            self._retired.append(gone[1])
        elif gone is not None:
            await gone[1].close()
