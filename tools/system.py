"""Debian packages that tests and benchmarks use: installed when root, otherwise the command is told. Standard library only.

Usage: python tools/system.py PACKAGE…
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path


def has_postgres() -> bool:
    return shutil.which("initdb") is not None or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def has_prometheus() -> bool:
    return shutil.which("prometheus") is not None and shutil.which("promtool") is not None


def has_alertmanager() -> bool:
    return shutil.which("prometheus-alertmanager") is not None or shutil.which("alertmanager") is not None


def there(command: str) -> bool:
    return shutil.which(command) is not None


PRESENT = {
    "postgresql": has_postgres,
    "prometheus": has_prometheus,
    "prometheus-alertmanager": has_alertmanager,
    **{name: partial(there, name) for name in ("wrk", "buildah", "skopeo", "docker-registry", "debootstrap")},
}


def main(packages: list[str]) -> None:
    missing = [package for package in packages if not PRESENT[package]()]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print(f"penstock: what needs {', '.join(missing)} will be skipped; to have it run: sudo {' '.join(command)}")
        return
    print(f"penstock: installing {', '.join(missing)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], command):
        done = subprocess.run(step, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"penstock: {' '.join(step)} failed:\n{done.stderr}")


if __name__ == "__main__":
    main(sys.argv[1:])
