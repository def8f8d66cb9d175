"""Our side of benchmarks/platforms.py: so many deployments brought up and kept on one platform, in a process whose CPU time is ours alone.

`platform_fleet.py passes|loop KIND COUNT`, in the folder of the project, with `section.json` in it; what was measured comes as one line
of JSON when it is settled, and another after the passes in which nothing changed. The parent counts the calls between the two.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.control.gateway import ensure_gateway, stop_gateway
from penstock.control.loop import reconcilers, tick
from penstock.control.world import World
from penstock.core.errors import PlatformAway
from penstock.core.home import Home
from penstock.platforms.contract import EndpointSpec, VersionSpec
from penstock.platforms.remote.bridge_hosts import hosts_in
from penstock.platforms.remote.files import JsonFiles
from penstock.platforms.table import PLATFORMS
from penstock.store.artifacts import Artifacts
from penstock.store.owners import this_owner
from penstock.store.store import Store

LONGEST_S, STILL_S = 300.0, 20.0


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(what: str, work: Callable[[], dict[str, Any]], home: Home) -> None:
    """Prints what `work` found, and what it took."""
    began, spent = time.monotonic(), cpu_s()
    found = work()
    hosts = [host for host in hosts_in(home.folder / "bridge-hosts", JsonFiles()) if host.alive]
    facts = {"wall_s": time.monotonic() - began, "cpu_s": cpu_s() - spent, "files": len(os.listdir("/proc/self/fd"))}
    facts |= {
        "threads": len(os.listdir("/proc/self/task")),
        "bridge_processes": len(hosts),
        "bridge_bytes": sum(h.memory_bytes for h in hosts),
    }
    print(json.dumps({"what": what, **facts, **found}), flush=True)
    sys.stdin.readline()  # the parent has counted


def passes(home: Home, artifacts: Artifacts, kind: str, section: dict[str, Any], count: int) -> None:
    """As the reconciler of deployments makes them, without its rows."""
    endpoints = PLATFORMS.load(kind).endpoints(home, artifacts, section)
    specs = [EndpointSpec(f"model-{n}", (VersionSpec("1", "sha256:" + f"{n:064x}", 1),)) for n in range(count)]

    due = dict.fromkeys((spec.name for spec in specs), 0.0)

    def look(spec: EndpointSpec) -> bool:
        if time.monotonic() < due[spec.name]:
            return False
        try:
            endpoints.apply(spec)
        except PlatformAway as error:
            due[spec.name] = time.monotonic() + error.after_s
        return any(replica.phase == "ready" for replica in endpoints.observe(spec.name).replicas)

    def settle() -> dict[str, Any]:
        began, number, waiting = time.monotonic(), 0, specs
        while waiting and time.monotonic() - began < LONGEST_S:
            number += 1
            waiting = [spec for spec in waiting if not look(spec)]
            time.sleep(0.02)
        return {"passes": number, "ready": count - len(waiting)}

    def still() -> dict[str, Any]:
        began, number, good = time.monotonic(), 0, 0
        while time.monotonic() - began < STILL_S:
            round_, number = time.monotonic(), number + 1
            good = sum(look(spec) for spec in specs)
            time.sleep(max(0.0, 1.0 - (time.monotonic() - round_)))  # a healthy deployment is looked at once a second
        return {"passes": number, "ready": good}

    timed("settle", settle, home)
    timed("still", still, home)


def loop(home: Home, kind: str, section: dict[str, Any], count: int) -> None:
    """The control loop over rows of the database, with a gateway that routes to what it brings up."""
    store = Store.open(home)
    world, table = World(store, home, this_owner(), store.clock), reconcilers()
    gateway = ensure_gateway(home, "127.0.0.1", 0)
    for n in range(count):
        bundle = "sha256:" + f"{n:064x}"
        version = store.registry.register(f"model-{n}", bundle, run="r", task="text-generation", metrics={}, gates=[], facts={}).version
        part = {"version": version, "bundle": bundle, "weight": 1.0}
        spec: dict[str, Any] = {"model": f"model-{n}", "versions": [part], "experiment": None, "task": "text-generation", "replicas": 1}
        spec |= {"platform": {"name": "there", "config": {**section, "kind": kind}}, "deploy": {"to": "there"}, "adapters": {}}
        store.resources.create("deployment", f"model-{n}", {**spec, "wanted_at": store.clock.now()})

    def work(ended: Callable[[], bool]) -> int:
        number, checked = 0, 0.0
        while True:
            if time.monotonic() - checked > 0.5:
                checked = time.monotonic()
                if ended():
                    return number
            pause = tick(world, table)
            number += pause == 0.0
            time.sleep(pause)

    def live() -> int:
        return sum(row.phase == "live" for row in store.resources.list("deployment", limit=count))

    def settle() -> dict[str, Any]:
        began = time.monotonic()
        number = work(lambda: live() == count or time.monotonic() - began > LONGEST_S)
        return {"passes": number, "ready": live()}

    def still() -> dict[str, Any]:
        began = time.monotonic()
        number = work(lambda: time.monotonic() - began > STILL_S)
        return {"passes": number / count, "ready": live()}

    try:
        timed("settle", settle, home)
        timed("still", still, home)
    finally:
        stop_gateway(home)
        print(json.dumps({"gateway": gateway["port"]}), file=sys.stderr)


def main(how: str, kind: str, count: int) -> None:
    home = Home.find(Path.cwd(), dict(os.environ))
    section = json.loads(Path("section.json").read_text())
    artifacts = Artifacts(home.artifacts_url, home.cache)
    if how == "passes":
        passes(home, artifacts, kind, section, count)
    else:
        loop(home, kind, section, count)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
