"""`python -m penstock.testing.emulators.azure FOLDER`: an emulated workspace until SIGTERM or Ctrl-C.

FOLDER/environment.sh is what a shell sources that is to use it. PENSTOCK_SPECS: folder whose `azure/` holds the published ARM schema.
"""

from __future__ import annotations

import json
import shlex
import signal
import sys
import threading
from pathlib import Path

from penstock.testing.emulators.azure.cloud import Azure, published


def main(folder: Path) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    folder.mkdir(parents=True, exist_ok=True)
    with Azure(folder, published()) as cloud:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in cloud.environment.items()]
        (folder / "environment.sh").write_text("\n".join(lines) + "\n")
        print(f"environment: {folder / 'environment.sh'}")
        print(f"platforms: {{azure: {json.dumps(cloud.section())}}}", flush=True)
        ended.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
