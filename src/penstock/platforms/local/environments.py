"""A step's own environment: a virtual environment with exactly its pins, built once, named by content.

The pins and what they need are installed into it by pip; behind them stands everything that Penstock's own environment has,
Penstock included, so a pin wins over the version that Penstock came with. Not covered: pins that break Penstock itself
(its worker then fails at its start and says so).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from importlib.machinery import PathFinder
from pathlib import Path

import penstock
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import StepFailed
from penstock.core.files import told_plainly

TAIL_LINES = 15


_REMEDY = "Correct the pins under `environment:` of the step; the end of pip's output is in the message."


def environment_folder(environments: Path, pins: Sequence[str]) -> Path:
    """Pins in another order are the same environment; another interpreter or another Penstock folder is another one."""
    return environments / hex_of(digest_json([sorted(pins), sys.version, _visible()]))[:32]


def built_python(environments: Path, pins: Sequence[str]) -> str | None:
    python = environment_folder(environments, pins) / "bin" / "python"
    return str(python) if python.exists() else None


def build(environments: Path, pins: Sequence[str], log: Path) -> str:
    """Path of the environment's interpreter; pip's output goes to `log`. Raises StepFailed. One process at a time builds it."""
    folder = environment_folder(environments, pins)
    with told_plainly(folder):
        environments.mkdir(parents=True, exist_ok=True)
        lock = os.open(environments / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if built_python(environments, pins) is None:
            _install(beside, pins, log)
            os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        os.close(lock)
    return str(folder / "bin" / "python")


def _install(folder: Path, pins: Sequence[str], log: Path) -> None:
    python = folder / "bin" / "python"
    own_pip = PathFinder.find_spec("pip") is not None  # not util.find_spec: setuptools hooks into that one, and warns
    _run([sys.executable, "-m", "venv", *(["--without-pip"] if own_pip else []), str(folder)], pins, log)
    pip = [sys.executable, "-m", "pip", "--python", str(python)] if own_pip else [str(python), "-m", "pip"]
    _run([*pip, "install", "--disable-pip-version-check", "--no-input", *pins], pins, log)
    lines = [f"import site; site.addsitedir({path!r})" for path in _visible()]
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "zz_penstock.pth").write_text("\n".join(lines) + "\n")


def _visible() -> list[str]:
    """Folders of Penstock and of the packages installed beside it."""
    places = [str(Path(penstock.__file__).parents[1]), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return list(dict.fromkeys(places))


def _run(command: Sequence[str], pins: Sequence[str], log: Path) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    with open(log, "a") as file:
        file.write(done.stdout)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL_LINES:])
        raise StepFailed(f"the environment {', '.join(pins)} could not be built; pip ended with:\n{tail}", remedy=_REMEDY)
