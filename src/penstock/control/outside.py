"""`python -m penstock.control.outside --home FOLDER`: what is measured of deployments, to the metrics of the cloud that they run on.

For platforms whose section says `metrics: true`. How far was sent stands in a file for each deployment, so nothing is left out after a
stop, and what was sent just before one is sent twice: such services take the same point of the same instant again. Beside that, versions
are kept the same in a cloud's registry (mirroring.py), and what a cloud captured becomes records (captures.py).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.control import captures
from penstock.control.boards.table import texts
from penstock.control.mirroring import mirror
from penstock.control.policy import deploy_of, watching_of
from penstock.control.rules.groups import ABOUT, Wish, own_group
from penstock.core.digests import digest_json
from penstock.core.errors import DatabaseUnavailable, PenstockError
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.monitoring.alerting.rules import rules_of
from penstock.platforms.measures import Bound, Face, Measured, Measures
from penstock.platforms.places import place_of
from penstock.platforms.table import PLATFORMS
from penstock.spec.conditions import Comparison, Metric, Number
from penstock.store.resources import Resource
from penstock.store.store import Store

log = logging.getLogger("penstock.outside")
EVERY_S, BACK_S, PARENT_S = 60.0, 3600.0, 2.0
SHOWN_S = 3600.0  # until it is shown again, though nothing changed: somebody may have deleted what was there
LATELY = 50  # runs
SHOWN = ("requests_per_s", "error_rate", "latency.p50_ms", "latency.p95_ms", "tokens_per_s", "replicas.ready", "cost.day")


def send(store: Store, home: Home, now: float) -> int:
    """Everything that is new, of every deployment that wants it; the number of points. One that fails does not hold up the others."""
    sent = 0
    for row, measures in _wanting(store, home):
        try:
            sent += _send_one(store, home, row, measures, now)
        except PenstockError as error:
            log.warning("%s: %s %s", row.name, error, error.way_out)
    return sent


def wanting(store: Store) -> bool:
    """Whether any deployment, or any run of late, was on a platform whose section asks for metrics, captures or its registry."""
    deployments = store.resources.list("deployment", limit=100_000)
    if captures.wanting(store, time.time()):
        return True
    if any(row.phase != "deleted" and row.spec["platform"].get("config", {}).get("metrics") for row in deployments):
        return True
    runs = store.resources.list("run", limit=LATELY)
    return any(row.spec.get("platform", {}).get("config", {}).get("registry") for row in runs)


def bounds_of(row: Resource) -> list[Bound]:
    """The alerts of a deployment that such a service can judge: one signal against one number."""
    watching = watching_of(row.spec)
    found = []
    for rule in rules_of(watching.alerts, watching.monitor.window):
        leaves = list(rule.watch.leaves)
        leaf = leaves[0] if len(leaves) == 1 else None
        if isinstance(leaf, Comparison) and isinstance(leaf.left, Metric) and isinstance(leaf.right, Number) and leaf.sign[0] in "<>":
            found.append(Bound(rule.key, leaf.left.key, leaf.sign, leaf.right.value, rule.watch.for_s))  # type: ignore[arg-type]
    return found


def face_of(row: Resource) -> Face:
    """What a platform may show of a deployment."""
    watching = watching_of(row.spec)
    wish = Wish(row.name, watching.monitor.window, watching.alerts, deploy_of(row.spec).rollback_when)
    return Face(SHOWN, bounds_of(row), [own_group(wish, [])], [ABOUT], lambda: texts("grafana"))


def forget(home: Home, deployment: str) -> None:
    """It was taken down where it was shown: it is shown again when it comes back."""
    _place(home, deployment).unlink(missing_ok=True)


def _wanting(store: Store, home: Home) -> Iterator[tuple[Resource, Measures]]:
    for row in store.resources.list("deployment", limit=100_000):
        config = row.spec["platform"].get("config", {})
        if row.phase == "deleted":
            forget(home, row.name)
        elif config.get("metrics"):
            measures: Measures | None = PLATFORMS.load(config["kind"]).measures(home, store.artifacts, config)
            if measures is not None:
                yield row, measures


def _send_one(store: Store, home: Home, row: Resource, measures: Measures, now: float) -> int:
    place = _place(home, row.name)
    known = _known(place)
    signals = [s for s in store.signals.read(row.name, since=max(known.get("at", 0.0), now - BACK_S), until=now) if not s.slice]
    face, shown_at = face_of(row), known.get("shown_at", 0.0)
    mark = digest_json([[asdict(bound) for bound in face.bounds], face.rules, face.about, place_of(row.spec["platform"]["config"])])
    if known.get("face") != mark or now - shown_at >= SHOWN_S:
        measures.show(row.name, face)
        shown_at = now
    if signals:
        measures.put(row.name, [Measured(s.name, s.value, s.at, s.version) for s in signals])
    at = max((s.at for s in signals), default=known.get("at", 0.0))
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, json.dumps({"at": at, "face": mark, "shown_at": shown_at}).encode(), sync=False)
    return len(signals)


def _place(home: Home, deployment: str) -> Path:
    return home.folder / "outside" / f"{deployment}.json"


def _known(place: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.control.outside", description="Sends signals to a cloud's metrics.")
    parser.add_argument("--home", required=True, type=Path, help="the folder of state")
    parser.add_argument("--parent", type=int, help="end when this process, which started us, is gone")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    home = Home.find(environ={**os.environ, "PENSTOCK_HOME": str(given.home)})
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    store, due = Store.open(home), 0.0
    sections: dict[str, dict[str, Any]] = {}
    try:
        while not stop.wait(PARENT_S) and (given.parent is None or os.getppid() == given.parent):
            if time.monotonic() >= due:
                due = time.monotonic() + EVERY_S
                try:
                    send(store, home, time.time())
                    mirror(store, home, sections)
                    captures.bring(store, home, time.time())
                except DatabaseUnavailable as error:
                    log.warning("%s", error)
    finally:
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
