"""A replica without a socket: the engine of one bundle, asked by calls. The replica's own code answers, on a loop in a thread of its own.

Calls may come from several threads at once; the engine gathers them into batches as it does for HTTP.
An engine that broke answers 503 and is opened anew for the next call.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

import uvloop

from penstock.core.home import Home
from penstock.platforms.function.events import Call
from penstock.platforms.remote.replica import bundle_of, spec_of
from penstock.platforms.remote.told import further, told
from penstock.serving.exchange import Exchange
from penstock.serving.heads import Head
from penstock.serving.held import Held, answered
from penstock.serving.invocations import invoked
from penstock.serving.replica import Replica, ReplicaSpec, open_warm

log = logging.getLogger("penstock.function")


class Function:
    """Opened at once, so that loading falls into what Lambda calls init. Raises what makes the bundle unfit to serve."""

    def __init__(self, spec: ReplicaSpec) -> None:
        self._spec = spec
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="penstock-function", daemon=True).start()
        self._lock = threading.Lock()
        self._replica, self._handle = self._open()

    @property
    def replica(self) -> Replica:
        return self._replica

    def ask(self, call: Call, within_s: float) -> Held:
        """From any thread but the loop's own."""
        with self._lock:
            if self._replica.broken:
                log.error("the engine broke (%s); it is opened anew", self._replica.broken)
                self._replica, self._handle = self._open()
            replica, handle = self._replica, self._handle
        headers = {name.encode("latin-1", "replace"): value.encode("latin-1", "replace") for name, value in call.headers.items()}
        head = Head(call.method.encode("ascii", "replace"), call.path, headers)
        return asyncio.run_coroutine_threadsafe(answered(handle, replica.timed_out, head, call.body, within_s), self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._replica.engine.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _open(self) -> tuple[Replica, Callable[[Exchange], None]]:
        return asyncio.run_coroutine_threadsafe(self._opened(), self._loop).result()

    async def _opened(self) -> tuple[Replica, Callable[[Exchange], None]]:
        engine, _, cold = await open_warm(self._spec)
        replica = Replica(self._spec, engine, cold)
        return replica, invoked(replica.handle, replica.timed_out, engine.info.task)


def opened(environ: Mapping[str, str]) -> Function:
    """What PENSTOCK_SERVING and PENSTOCK_REPLICA say (told.py). Adapters are those that PENSTOCK_REPLICA names."""
    home = Home.find(environ=environ)
    serving = told(environ, "127.0.0.1", 0)
    name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "").rpartition("]")[2] or secrets.token_hex(4)
    folder = home.replicas / serving.model / serving.name
    fields: dict[str, Any] = {
        **spec_of(serving, bundle_of(serving, home), folder),
        "id": f"{serving.version}-{name[:8]}",
        **further(environ),
    }
    return Function(ReplicaSpec(**fields))
