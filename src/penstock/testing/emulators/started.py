"""An emulator by itself: started from a shell, it says how to reach it and stays until SIGTERM or Ctrl-C."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from pathlib import Path

from penstock.testing.emulators.table import EMULATORS


def stay(kind: str, name: str, folder: Path) -> None:
    """Prints a `platforms` section that calls it `name`; FOLDER/environment.sh is what a shell sources that is to use it."""
    ended = until_told()
    folder.mkdir(parents=True, exist_ok=True)
    with EMULATORS.load(kind)(folder, folder) as emulated:
        lines = [f"export {key}={shlex.quote(value)}" for key, value in emulated.environment.items()]
        (folder / "environment.sh").write_text("\n".join(lines) + "\n")
        print(f"environment: {folder / 'environment.sh'}")
        print(f"platforms: {{{name}: {json.dumps(emulated.section)}}}", flush=True)
        ended.wait()


def until_told() -> threading.Event:
    """Set once this process is asked to end."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended
