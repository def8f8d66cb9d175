"""`python -m penstock.testing.emulators.kubernetes FOLDER [CRDS]`: an emulated cluster until SIGTERM or Ctrl-C."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.testing.emulators.kubernetes.cluster import Cluster
from penstock.testing.emulators.started import until_told


def main(folder: str, crds: str | None = None) -> None:
    ended = until_told()
    with Cluster(Path(folder).absolute(), crds=Path(crds) if crds else None) as cluster:
        print(f"kubeconfig: {cluster.kubeconfig}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
