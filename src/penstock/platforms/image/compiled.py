"""Bytecode whose bytes follow from the source alone, because a root that cannot be written to never caches any.

It is marked by the source's hash instead of its time (PEP 552, unchecked) and made by a fresh interpreter with a fixed hash seed, a
file after the other in sorted order: what marshal writes depends on what the process met before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from penstock.core.errors import PenstockError
from penstock.platforms.image.contract import Entry

_PROGRAM = """
import json, py_compile, sys
for source, target, shown in json.load(sys.stdin):
    try:
        py_compile.compile(source, target, shown, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    except (py_compile.PyCompileError, RecursionError, UnicodeDecodeError):
        pass  # some packages carry templates and files for other versions of Python, which nothing imports
"""


def bytecode(entries: Sequence[Entry], scratch: Path) -> list[Entry]:
    """An entry for each Python source among `entries`; the bytecode lies in folder `scratch`."""
    work: list[tuple[str, str, str]] = []
    found: list[tuple[Path, str]] = []
    for entry in sorted(entries, key=lambda one: one.path):
        if not entry.path.endswith(".py") or entry.source is None:
            continue
        source = entry.source
        if isinstance(source, bytes):
            source = scratch / f"{len(work)}.py"
            source.write_bytes(entry.source if isinstance(entry.source, bytes) else b"")
        target, path = scratch / f"{len(work)}.pyc", PurePosixPath(entry.path)
        work.append((str(source), str(target), f"/{entry.path}"))
        found.append((target, str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")))
    environ = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-S", "-s", "-W", "ignore", "-c", _PROGRAM]
    done = subprocess.run(command, input=json.dumps(work), env=environ, capture_output=True, text=True)
    if done.returncode:
        raise PenstockError(f"the bytecode of the image could not be made: {done.stderr.strip()[-400:]}")
    return [Entry(path, target) for target, path in found if target.exists()]
