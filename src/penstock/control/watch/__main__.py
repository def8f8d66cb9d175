"""`python -m penstock.control.watch --home FOLDER`: watches what a home's gateway records, until SIGTERM; one for each home.

The background process starts it and looks after it (control/beside.py).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from penstock.control.watch.health import Ledger
from penstock.control.watch.watcher import Watcher, rarely_collect
from penstock.core.errors import Conflict, DatabaseUnavailable, DiskFull, PenstockError, ReadOnly
from penstock.core.files import told_plainly
from penstock.core.home import Home
from penstock.store.store import Store

log = logging.getLogger("penstock.watch")
POLL_S, RETRY_S, NICE = 0.5, 2.0, 5
TAKE_OVER_S = 10.0  # for the one before us to end


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.control.watch", description="Turns records into signals.")
    parser.add_argument("--home", required=True, type=Path, help="the folder of state, with gateway/")
    parser.add_argument("--parent", type=int, help="end when this process, which started us, is gone")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    home = Home.find(environ={**os.environ, "PENSTOCK_HOME": str(given.home)})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with _alone(home, stop):
            os.nice(NICE)
            _watch(home, stop, given.parent)
    except PenstockError as error:
        log.error("%s %s", error, error.way_out)
        return error.exit_code
    return 0


@contextlib.contextmanager
def _alone(home: Home, stop: threading.Event) -> Iterator[None]:
    """Holds the home's lock. Raises Conflict when another watcher keeps it."""
    folder = home.folder / "monitor"
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "watch.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        for _ in range(int(TAKE_OVER_S / POLL_S)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(POLL_S)
        else:
            raise Conflict(f"another watcher holds {folder}", remedy="It does the work; end it first to run this one.")
        yield
    finally:
        os.close(lock)


def _watch(home: Home, stop: threading.Event, parent: int | None) -> None:
    store = _opened(home, stop)
    if store is None:
        return
    watcher = Watcher(home, store)
    logging.getLogger("penstock").addHandler(Ledger(watcher.health))
    rarely_collect()
    try:
        while not stop.is_set() and (parent is None or os.getppid() == parent):
            try:
                more = watcher.turn()
            except (DatabaseUnavailable, DiskFull, ReadOnly) as error:
                if watcher.health.waits_for is None:
                    log.error("%s; waiting for it", error)
                watcher.tell_waiting(str(error))
                stop.wait(RETRY_S)
                continue
            if not more:
                stop.wait(POLL_S)
        watcher.close()
    finally:
        store.close()


def _opened(home: Home, stop: threading.Event) -> Store | None:
    """The store, waited for where the database is away; None when we are to stop meanwhile."""
    told = False
    while not stop.is_set():
        try:
            return Store.open(home)
        except DatabaseUnavailable as error:
            if not told:
                log.error("%s; waiting for it", error)
            told = True
            stop.wait(RETRY_S)
    return None


if __name__ == "__main__":
    sys.exit(main())
