"""`python -m penstock.testing.emulators.vertex FOLDER`: an emulated project until SIGTERM or Ctrl-C.

FOLDER/environment.sh is what a shell sources that is to use it.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from pathlib import Path

from penstock.testing.emulators.vertex.cloud import VertexAI


def main(folder: Path) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with VertexAI(folder) as cloud:
        told = {**cloud.environment, "PENSTOCK_ARTIFACTS": f"{cloud.bucket()}/store"}
        lines = [f"export {name}={shlex.quote(value)}" for name, value in told.items()]
        (folder / "environment.sh").write_text("\n".join(lines) + "\n")
        print(f"environment: {folder / 'environment.sh'}")
        print(f"platforms: {{gcp: {json.dumps(cloud.section())}}}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
