"""Writes locks/<extras>.txt: every package that Penstock needs with those extras, pinned as constraints.txt has it, with the digests of
its wheels. pip resolves and says which files it would take; nothing is installed. Needs pip 22.2 or later and its package index.

Usage: python tools/lock.py EXTRAS… (such as `serve`, or `serve,s3` for a lock of both)

A lock holds for the machine that it was made on (Linux, this Python, this processor): digests of other wheels are not in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEAD = (
    "# Made by tools/lock.py: {what}, Python {python}, {machine}. For `pip install --require-hashes` and `penstock image build --lock`.\n"
)


def main(wanted: list[str]) -> None:
    (ROOT / "locks").mkdir(exist_ok=True)
    for extras in wanted:
        text = lock(extras)
        name = extras.replace(",", "-") if extras != "core" else "core"
        (ROOT / "locks" / f"{name}.txt").write_text(text)
        print(f"locks/{name}.txt: {text.count('==')} packages")


def lock(extras: str) -> str:
    """The text of the lock; `core` is Penstock without extras."""
    import platform

    what = "penstock" if extras == "core" else f"penstock[{extras}]"
    rows = []
    for found in resolved(extras):
        hashes = found["download_info"].get("archive_info", {}).get("hashes", {})
        name, version = found["metadata"]["name"], found["metadata"]["version"]
        if name.lower() == "penstock":
            continue
        if "sha256" not in hashes:
            sys.exit(f"lock: the index gives no sha256 for {name} {version}")
        rows.append((name.lower(), f"{name}=={version} \\\n    --hash=sha256:{hashes['sha256']}\n"))
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return HEAD.format(what=what, python=python, machine=f"{platform.system().lower()} {platform.machine()}") + "".join(
        text for _, text in sorted(rows)
    )


def resolved(extras: str) -> list[dict[str, dict[str, dict[str, dict[str, str]]]]]:
    """What pip would install, as its report says."""
    target = str(ROOT) if extras == "core" else f"{ROOT}[{extras}]"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--only-binary", ":all:"]
        command += ["--disable-pip-version-check", "--report", str(report), "-c", str(ROOT / "constraints.txt"), target]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"lock: pip could not resolve {target}:\n{done.stderr}")
        found: list[dict[str, dict[str, dict[str, dict[str, str]]]]] = json.loads(report.read_bytes())["install"]
        return found


if __name__ == "__main__":
    main(sys.argv[1:] or ["core", "serve"])
