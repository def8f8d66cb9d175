"""Several replicas in one process, for engines that hold no model: `python -m penstock.serving.several FOLDER`.

`FOLDER/wanted.json` maps ids to replica specs and is followed; `FOLDER/held.json` tells of each what became of it. Each has a port, an
engine, metrics and a drain of its own; one that fails or is taken off the list leaves the others alone. The process ends once nothing
was wanted for EMPTY_S, and on SIGTERM after what is in flight. Who starts it passes a descriptor with a lock on: held means alive.
Not covered: an engine that blocks the loop, or takes the process with it: its neighbours then stand or go with it.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from penstock.core.files import write_atomic
from penstock.serving.replica import Listening, ReplicaSpec, listen, memory_bytes, told_of

WANTED, HELD = "wanted.json", "held.json"
LOOK_S, EMPTY_S, OPENING = 0.1, 2.0, 8
log = logging.getLogger("penstock.replica")


class Several:
    """Brings the replicas of `folder` to its list, over and over."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, int] | None = None
        self._stops: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._news = True
        self._opening = asyncio.Semaphore(OPENING)
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Until `stop`, or until nothing was wanted for EMPTY_S."""
        empty_since: float | None = None
        while not self.stop.is_set():
            self.follow()
            self._write()
            now = time.monotonic()
            empty_since = None if self._tasks else empty_since or now
            if empty_since is not None and now - empty_since > EMPTY_S:
                break
            await _within(self.stop, LOOK_S)
        for stop in self._stops.values():
            stop.set()
        while self._tasks:
            self._write()
            await asyncio.wait(self._tasks.values(), timeout=LOOK_S)
        self._write()

    def follow(self) -> None:
        """One look at the list."""
        stamp = _stamp(self._folder / WANTED)
        if stamp == self._stamp:
            return
        try:
            wanted: Mapping[str, Any] = json.loads((self._folder / WANTED).read_bytes())
        except (OSError, ValueError) as error:
            log.error("%s cannot be read (%s); the replicas stay as they are", self._folder / WANTED, error)
            return
        self._stamp = stamp
        for id_ in self._stops.keys() - wanted.keys():
            self._stops[id_].set()
        for id_ in wanted.keys() - self._stops.keys():
            self._stops[id_] = asyncio.Event()
            self._tasks[id_] = asyncio.get_running_loop().create_task(self._live(id_, wanted[id_]))
            self._tasks[id_].add_done_callback(functools.partial(self._forget, id_))

    async def _live(self, id_: str, given: Mapping[str, Any]) -> None:
        """One replica from its start to its end. What went wrong is told until it is off the list."""
        stop = self._stops[id_]
        spec = {name: given[name] for name in ("id", "model", "version", "digest")}
        self._tell(id_, phase="starting", started=time.time(), spec=spec)
        try:
            opened = await self._opened(given, stop)
        except Exception as error:
            log.exception("replica %s could not start", id_)
            self._tell(id_, phase="failed", error=told_of(error)["message"])
            await stop.wait()
            return
        if opened is None:
            return
        self._tell(id_, phase="ready", **opened.ready)
        await _first(stop, opened.replica.stop)
        self._tell(id_, phase="draining")
        await opened.end()
        if opened.replica.broken:
            log.error("the engine of replica %s broke (%s)", id_, opened.replica.broken)
            self._tell(id_, phase="failed", error=opened.replica.broken)
            await stop.wait()

    async def _opened(self, given: Mapping[str, Any], stop: asyncio.Event) -> Listening | None:
        """None: it was taken off the list before it was ready."""
        async with self._opening:
            opening = asyncio.get_running_loop().create_task(listen(ReplicaSpec(**given), 0.0))
            asked = asyncio.get_running_loop().create_task(stop.wait())
            await asyncio.wait((opening, asked), return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if opening.done():
                return opening.result()
            opening.cancel()
            return None

    def _tell(self, id_: str, **facts: Any) -> None:
        self._told[id_] = {**self._told.get(id_, {}), **facts}
        self._news = True

    def _forget(self, id_: str, _: asyncio.Task[None]) -> None:
        for rows in (self._told, self._stops, self._tasks):
            rows.pop(id_, None)
        self._news, self._stamp = True, None  # it may have been listed again meanwhile

    def _write(self) -> None:
        if self._news:
            told = {"pid": os.getpid(), "memory_bytes": memory_bytes(), "replicas": self._told}
            write_atomic(self._folder / HELD, orjson.dumps(told), sync=False)
            self._news = False


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.get_running_loop().create_task(event.wait()) for event in events]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def _serve(folder: Path) -> None:
    several = Several(folder)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, several.stop.set)
    await several.run()


def more_descriptors() -> None:
    """As many as the system allows: each request takes two."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main(arguments: list[str]) -> int:
    import uvloop

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # else a line for every request
    more_descriptors()
    uvloop.run(_serve(Path(arguments[0])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
