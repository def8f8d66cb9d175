"""A process that leases resources and claims builds as fast as it can, and notices when somebody else holds the same one.

Run as: hammer.py DATABASE_URL FOLDER WORKER. Prints one JSON object.
"""

import json
import os
import sys
from pathlib import Path

from penstock.core.clock import SystemClock
from penstock.store import owners
from penstock.store.artifacts import Artifacts
from penstock.store.builds import Build
from penstock.store.database import Database
from penstock.store.store import Store

url, folder, worker = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
clock = SystemClock()
owner = owners.this_owner(worker)


def alone(name: str) -> bool:
    """False when another process is between here and `leave`."""
    try:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def leave(name: str) -> None:
    (folder / name).unlink()


def main() -> None:
    store = Store.of(Database(url, clock), Artifacts((folder / "artifacts").as_uri(), folder / "cache"), clock)
    (folder / f"ready-{worker}").touch()
    while not (folder / "go").exists():
        clock.sleep(0.005)
    report = {"leases": 0, "clashes": 0, "won": []}
    while (resource := store.resources.lease(["job"], owner, 60.0)) is not None:
        report["leases"] += 1
        report["clashes"] += not alone(resource.id)
        count = resource.status.get("count", 0) + 1
        clock.sleep(0.0005)
        leave(resource.id)
        due = None if count == 5 else clock.now() - 60.0  # past, whatever a time server does meanwhile
        store.resources.save("job", resource.id, owner, status={"count": count}, phase="x", due_at=due)
        store.resources.release("job", resource.id, owner)
        store.audit.append(owner, "worked", resource.id, {"count": count})
    for number in range(30):
        key = f"key-{number}"
        if store.builds.claim(key, owner, 60.0):
            report["clashes"] += not alone(key)
            clock.sleep(0.0005)
            leave(key)
            store.builds.unclaim(key, owner)
        mine = Build(key, "p", "s", "st", {}, {}, {}, 0.0, owner, clock.now())
        if store.builds.record(mine) == mine:
            report["won"].append(key)
    store.close()
    print(json.dumps(report))


main()
