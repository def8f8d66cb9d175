"""What clients talk to: `python -m penstock.serving.gateway --home FOLDER --host 127.0.0.1 --port P`.

FOLDER holds `snapshot.json` (read, polled), `state.json` (written: where it listens, which snapshot is in force) and `records/`.
It needs no control process and no database; a bad or missing snapshot leaves the last good one in force.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path

import orjson

from penstock.core.errors import BadInput, PenstockError, PortTaken
from penstock.core.files import write_atomic
from penstock.serving.gateway_metrics import per_model, routes
from penstock.serving.handling import Gateway
from penstock.serving.load import write_load
from penstock.serving.machine import Machine
from penstock.serving.server import HttpServer
from penstock.serving.tls import Certificate
from penstock.serving.workers import Supervisor, write_counts

log = logging.getLogger("penstock.gateway")
POLL_S, COUNT_TURNS, CERTIFICATE_TURNS, DRAIN_S = 0.1, 5, 50, 30.0


async def serve(
    folder: Path, listener: socket.socket, worker: int | None = None, certificate: Certificate | None = None, processes: int = 1
) -> int:
    """Serves until SIGTERM or SIGINT; then finishes what is in flight. `worker`: its number when there are several `processes`."""
    parent = os.getppid()  # before anybody knows of us and may be killed for it
    gateway = Gateway(folder, worker, processes)
    gateway.refresh()
    machine = gateway.own.machine = Machine(lambda: list(routes(gateway.table)), worker, processes)
    gateway.records.energy = machine.energy
    machine.start()
    limits = gateway.table.snapshot.limits
    server = gateway.server = HttpServer(gateway.handle, on_timeout=gateway.timed_out, on_refused=gateway.refused, limits=limits)
    await server.adopt(listener, certificate.context if certificate is not None else None)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gateway.loop.add_signal_handler(number, stop.set)
    gateway.scheme = "https" if certificate is not None else "http"
    _announce(gateway, listener)
    log.info("gateway on %s://%s:%d, snapshot %d", gateway.scheme, *listener.getsockname()[:2], gateway.table.snapshot.version)
    gc.collect()
    gc.freeze()  # what is there now stays for ever: the collector need not walk over it again and again
    poller = asyncio.create_task(_poll(gateway, listener, stop, certificate, parent))
    await stop.wait()
    poller.cancel()
    await server.drain(DRAIN_S)
    await gateway.close()
    machine.close()
    log.info("gateway stopped")
    return 0


def _announce(gateway: Gateway, listener: socket.socket) -> None:
    """Says which snapshot is in force: to everybody, or as a worker to the supervisor."""
    version, pid = gateway.table.snapshot.version, os.getpid()
    try:
        if gateway.worker is not None:
            machine = gateway.own.machine.dump() if gateway.own.machine is not None else []
            told = {"machine": machine, "sums": gateway.sums(), "models": per_model(gateway.table), "series": gateway.metrics.dump()}
            write_counts(gateway.folder, gateway.worker, {"pid": pid, "snapshot_version": version, **told})
        else:
            host, port = listener.getsockname()[:2]
            state = {
                "pid": pid,
                "scheme": gateway.scheme,
                "host": host,
                "port": port,
                "started": gateway.started,
                "snapshot_version": version,
            }
            write_atomic(gateway.folder / "state.json", orjson.dumps(state), sync=False)
    except (PenstockError, OSError) as error:
        log.error("the gateway's state cannot be written: %s", error)


async def _poll(gateway: Gateway, listener: socket.socket, stop: asyncio.Event, certificate: Certificate | None, parent: int) -> None:
    turns, complained = 0, False
    while True:
        await asyncio.sleep(POLL_S)
        turns += 1
        changed = gateway.refresh()
        if certificate is not None and turns % CERTIFICATE_TURNS == 0:
            certificate.refresh()
        if changed:
            log.info("snapshot %d is in force", gateway.table.snapshot.version)
        if changed or (gateway.worker is not None and turns % COUNT_TURNS == 0):
            _announce(gateway, listener)
        if changed or turns % COUNT_TURNS == 1:
            complained = _tell_load(gateway, complained)
        if gateway.worker is not None and os.getppid() != parent:
            stop.set()  # the supervisor is gone; another one will start


def _tell_load(gateway: Gateway, complained: bool) -> bool:
    """For whoever scales. True when it cannot be written; said once."""
    now = time.monotonic()
    try:
        write_load(gateway.folder, gateway.worker or 0, {name: lane.load(now) for name, lane in gateway.table.lanes.items()})
    except (PenstockError, OSError) as error:
        if not complained:
            log.error("the load cannot be written: %s", error)
        return True
    return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be listened on ({error.strerror or error})"
        raise PortTaken(f"{host}:{port} {reason}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.serving.gateway", description="Serves the models of a snapshot.")
    parser.add_argument("--home", required=True, type=Path, help="the gateway's folder: snapshot.json, state.json, records/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the port; one does about 15,000 requests/s")
    parser.add_argument("--tls-cert", type=Path, help="PEM certificate chain; with --tls-key the gateway speaks TLS only")
    parser.add_argument("--tls-key", type=Path, help="PEM private key of the certificate")
    parser.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        if (given.tls_cert is None) != (given.tls_key is None):
            raise BadInput("TLS needs both a certificate and its key", remedy="Give --tls-cert and --tls-key.")
        certificate = Certificate(given.tls_cert, given.tls_key) if given.tls_cert is not None else None
        listener = socket.socket(fileno=given.socket) if given.socket is not None else listen(given.host, given.port)
        if given.workers > 1:
            return Supervisor(given.home, listener, given.workers, certificate).run()
        import uvloop

        return uvloop.run(serve(given.home, listener, given.worker, certificate, given.processes))
    except PenstockError as error:
        log.error("%s %s", error, error.way_out)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
