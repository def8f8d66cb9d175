"""What every container of ours can count on, wherever it runs: its user, where it may write, where it serves and tells its health."""

from __future__ import annotations

import platform

USER = 1000  # and group
WORK = "/work"  # the one folder that it may write to, beside /tmp
PORT, HEALTH = 8080, "/healthz"
PLACES = {"PENSTOCK_HOME": f"{WORK}/penstock", "XDG_CACHE_HOME": f"{WORK}/cache", "HOME": WORK}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture() -> str:
    """Of this machine, as images name it."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())
