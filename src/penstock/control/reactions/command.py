"""Runs one command of a reaction and writes down how it ended: `python -m penstock.control.reactions.command FOLDER`.

FOLDER holds order.json; output and ended.json are written beside it. The command has its own session: all of it ends at the limit.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from penstock.core.files import write_atomic

GRACE_S = 5.0


def main(folder: Path) -> None:
    try:
        file = os.open(folder / "pid", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return  # another one runs it, or has
    os.write(file, str(os.getpid()).encode())
    os.close(file)
    order = json.loads((folder / "order.json").read_bytes())
    environment = {**os.environ, "PENSTOCK_REACTION": json.dumps(order["about"])}
    write_atomic(folder / "ended.json", json.dumps(_run(order["command"], order["timeout_s"], environment)).encode())


def _run(command: list[str], timeout_s: float, environment: dict[str, str]) -> dict[str, object]:
    """Exit code, or why there is none."""
    try:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        return {"code": None, "why": f"it cannot be started ({error.strerror})"}
    try:
        return {"code": process.wait(timeout_s)}
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return {"code": None, "why": f"it took longer than {timeout_s:g} s and was ended"}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
