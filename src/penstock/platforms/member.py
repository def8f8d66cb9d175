"""`python -m penstock.platforms.member DESCRIPTOR`: one of the processes that run a step together (processes.py).

The task is a line of JSON on standard input; the descriptor takes structured lines (log_lines.py) and, last, `{"done": …}` (metrics, and
the kinds of what it wrote) or `{"failed": …, "at": …}`. One that failed waits to be ended: its connections break only when it is known why.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def main() -> None:
    says, commands = int(sys.argv[1]), os.dup(0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    task = json.loads(_line(commands))
    stop, ended = threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us
    threading.Thread(target=_end_with, args=(commands,), daemon=True).start()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the workers of this machine have it
    told = _run(task, says, stop)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    _write(says, json.dumps(told).encode() + b"\n")
    if "failed" in told:
        ended.wait()


def _run(task: Mapping[str, Any], says: int, stop: threading.Event) -> dict[str, Any]:
    from penstock.core.home import Home
    from penstock.platforms.failures import describe
    from penstock.platforms.handed import JobContext, StagedOutputs, folder_of, run_stage
    from penstock.platforms.jobs_codec import job_from_json
    from penstock.platforms.log_lines import LineWriter
    from penstock.stages.contract import Peers
    from penstock.store.artifacts import Artifacts

    job, peers, where = job_from_json(task["job"]), Peers(*task["peers"]), task["home"]
    home = Home(Path(where["folder"]), where["database_url"], where["artifacts_url"])
    lines, outputs = LineWriter(lambda data: _write(says, data)), StagedOutputs(Path(task["staging"]))
    emit = lines if peers.local == 0 else lambda _: None
    context = JobContext(folder_of(home, job.key) / "scratch", task["threads"], emit, stop.is_set, peers)
    try:
        metrics = run_stage(job, Artifacts(home.artifacts_url, home.cache), home, outputs, context)
    except BaseException as error:
        return {"failed": describe(error, job.code_path), "at": time.monotonic()}
    finally:
        lines.close()
    left = {name: [draft.kind, draft.meta] for name, draft in outputs.drafts.items()}
    return {"done": {"metrics": dict(metrics), "outputs": left}}


def _line(commands: int) -> bytes:
    found = b""
    while not found.endswith(b"\n") and (data := os.read(commands, 1 << 16)):
        found += data
    return found


def _end_with(commands: int) -> None:
    """Nothing more is ever sent: the end of it is the end of the process that started us."""
    os.read(commands, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _write(says: int, data: bytes) -> None:
    while data:
        data = data[os.write(says, data) :]


if __name__ == "__main__":
    main()
