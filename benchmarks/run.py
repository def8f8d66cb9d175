"""Runs every benchmark of this folder, one after another, and prints their tables. Peers get environments of their own, once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ORDER = (
    "engine_overhead",
    "tracking",
    "data_ingest",
    "training",
    "threads",
    "engines",
    "load_generator",
    "gateway",
    "request_path",
    "request_costs",
    "decoding",
    "classify",
    "function",
    "scaling",
    "guardrails",
    "anomalies",
    "rollouts",
    "reactions",
    "windows",
    "languages",
    "drift",
    "detection",
    "platforms",
)


def main(names: list[str]) -> int:
    failed = []
    for name in names or ORDER:
        print(f"\n== {name} {'=' * (90 - len(name))}", flush=True)
        started = time.monotonic()
        if subprocess.run([sys.executable, str(HERE / f"{name}.py")]).returncode:
            failed.append(name)
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
