"""`python -m penstock.testing.emulators.kubernetes FOLDER [CRDS]`: an emulated cluster until SIGTERM or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from penstock.testing.emulators.kubernetes.cluster import Cluster


def main(folder: str, crds: str | None = None) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with Cluster(Path(folder).absolute(), crds=Path(crds) if crds else None) as cluster:
        print(f"kubeconfig: {cluster.kubeconfig}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
