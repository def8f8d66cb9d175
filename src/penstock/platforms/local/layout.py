"""Where the local platform keeps a job: `jobs/<key hex>/` with `scratch/`, and per attempt `log` and the phases it went through.

`pending.json`, `running.json` and `state.json` (the end) are each a JobState with the `pid` and `born` of the process that has
the job, and the `run` that asked; any control process can read them, so jobs are found again after a restart.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.digests import hex_of
from penstock.core.errors import NotFound
from penstock.core.files import write_atomic
from penstock.platforms.contract import JobState, LogPage
from penstock.platforms.jobs_codec import state_from_json, state_to_json

LOG_PAGE_BYTES = 1 << 20
_FILES = {"pending": "pending.json", "running": "running.json"}


@dataclass(frozen=True, slots=True)
class Recorded:
    """A state as it lies on disk."""

    state: JobState
    run: str
    pid: int
    born: str


def attempt_folder(jobs: Path, key: str, attempt: int) -> Path:
    return jobs / hex_of(key) / str(attempt)


def folder_of_reference(jobs: Path, reference: str) -> Path:
    """`<key hex>/<attempt>` → its folder. Raises NotFound for anything that was never submitted here."""
    digits, _, attempt = reference.partition("/")
    if len(digits) != 64 or not attempt.isdecimal() or not (jobs / digits / attempt).is_dir():
        raise NotFound(f"no job {reference!r} under {jobs}", remedy="Submit the job again; its finished outputs are kept.")
    return jobs / digits / attempt


def write_state(folder: Path, recorded: Recorded) -> None:
    """Each phase has its own file, so that none is ever replaced (which costs a flush of the disk).

    Not synced: after a power cut the completion marker in the artifact store decides, not these files.
    """
    value = {**state_to_json(recorded.state), "run": recorded.run, "pid": recorded.pid, "born": recorded.born}
    write_atomic(folder / _FILES.get(recorded.state.phase, "state.json"), json.dumps(value).encode(), sync=False)


def read_state(folder: Path) -> Recorded | None:
    """The latest phase on record; None when the job was never submitted, or a power cut left no whole file."""
    for name in ("state.json", "running.json", "pending.json"):
        try:
            value: dict[str, Any] = json.loads((folder / name).read_bytes())
            return Recorded(state_from_json(value), value["run"], value["pid"], value["born"])
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError):
            continue
    return None


def read_log(folder: Path, since: int) -> LogPage:
    """Whole lines from byte `since` on, at most about 1 MiB of them; a line longer than that is cut into pieces."""
    try:
        with open(folder / "log", "rb") as file:
            file.seek(since)
            data = file.read(LOG_PAGE_BYTES)
    except FileNotFoundError:
        return LogPage((), since)
    end = data.rfind(b"\n") + 1
    if end == 0 and len(data) == LOG_PAGE_BYTES:
        end = len(data)
    return LogPage(tuple(data[:end].decode("utf-8", "replace").splitlines()), since + end)
