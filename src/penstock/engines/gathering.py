"""Dynamic batching: single texts of many callers gathered into batches, without a waiting window.

A worker takes what is queued the moment it is free, so a lone request never waits and load makes batches by itself. Texts
that wait are shared evenly among the workers that are free, and a batch is filled with texts of like length.
Not covered: what a worker computes (see openvino_encoder.py).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from penstock.core.errors import EngineClosed

ResultT = TypeVar("ResultT")


@dataclass(slots=True, eq=False)
class Call(Generic[ResultT]):
    """One request's texts, or whatever is worked on, on their way; `results[i]` belongs to `texts[i]`. Owned by the loop of `future`."""

    texts: Sequence[Any]
    what: Any
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[ResultT]]
    results: list[Any] = field(default_factory=list)
    missing: int = 0
    left: bool = False  # the caller is gone: its texts need no work

    def __post_init__(self) -> None:
        self.results, self.missing = [None] * len(self.texts), len(self.texts)


@dataclass(frozen=True, slots=True)
class Item(Generic[ResultT]):
    call: Call[ResultT]
    index: int

    @property
    def text(self) -> Any:
        return self.call.texts[self.index]


class Gatherer(Generic[ResultT]):
    """A queue of texts and the threads that empty it. `work` turns a batch into one result for each item."""

    def __init__(self, work: Callable[[int, list[Item[ResultT]]], Sequence[ResultT]], *, workers: int, max_batch: int, name: str) -> None:
        self._work, self._max_batch = work, max_batch
        self._items: deque[Item[ResultT]] = deque()
        self._ready = threading.Condition()
        self._idle, self._closed = 0, False
        self._running: dict[int, list[Item[ResultT]]] = {}
        self._threads = [threading.Thread(target=self._serve, args=(i,), name=f"{name}-{i}", daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Texts queued and not yet taken."""
        return len(self._items)

    async def submit(self, texts: Sequence[Any], what: Any) -> list[ResultT]:
        """Results in the order of `texts`. Leaving early drops what was not yet taken. Raises what `work` raised, or EngineClosed."""
        loop = asyncio.get_running_loop()
        call: Call[ResultT] = Call(texts, what, loop, loop.create_future())
        with self._ready:
            if self._closed:
                raise EngineClosed("the engine is closed")
            self._items.extend(Item(call, index) for index in range(len(texts)))
            self._ready.notify(min(len(texts), len(self._threads)))
        try:
            return await call.future
        finally:
            call.left = True

    def close(self) -> None:
        """Refuses what waits with EngineClosed, waits for the batches that run. A second call does nothing."""
        with self._ready:
            self._closed = True
            dropped = list(self._items)
            self._items.clear()
            self._ready.notify_all()
        error = EngineClosed("the engine was closed while this request waited")
        _deliver(list({id(item.call): item.call for item in dropped}.values()), error)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _take(self) -> list[Item[ResultT]] | None:
        """The next batch; None when closed. Waits while nothing is queued."""
        with self._ready:
            while True:
                self._idle += 1
                while not self._items and not self._closed:
                    self._ready.wait()
                free, self._idle = self._idle, self._idle - 1
                if self._closed:
                    return None
                share = min(self._max_batch, -(-len(self._items) // free))
                batch = [item for item in (self._items.popleft() for _ in range(share)) if not item.call.left]
                if batch:
                    return batch

    def _serve(self, worker: int) -> None:
        while (batch := self._take()) is not None:
            try:
                results = self._work(worker, batch)
            except Exception as error:
                _deliver(list({id(item.call): item.call for item in batch}.values()), error)
                continue
            self._settle(batch, results)

    def _settle(self, batch: list[Item[ResultT]], results: Sequence[ResultT]) -> None:
        done = []
        with self._ready:
            for item, result in zip(batch, results, strict=True):
                item.call.results[item.index] = result
                item.call.missing -= 1
                if item.call.missing == 0:
                    done.append(item.call)
        _deliver(done, None)


def _deliver(calls: Sequence[Call[Any]], error: BaseException | None) -> None:
    """Wakes the callers; one message to each event loop, however many of its calls are done."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Call[Any]]] = {}
    for call in calls:
        by_loop.setdefault(call.loop, []).append(call)
    for loop, mine in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_wake, mine, error)


def _wake(calls: Sequence[Call[Any]], error: BaseException | None) -> None:
    for call in calls:
        if not call.future.done():
            if error is None:
                call.future.set_result(call.results)
            else:
                call.future.set_exception(error)
