"""The logs of a run's steps, printed as they grow."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.output import here
from penstock.cli.state import steps_of
from penstock.core.digests import hex_of
from penstock.core.errors import NotFound
from penstock.core.home import Home

if TYPE_CHECKING:
    from penstock.store.store import Store

MARK = "::penstock "
LOOK_AGAIN_S = 0.3
ENDED = frozenset({"succeeded", "failed", "refused", "rolled_back", "cancelled", "interrupted"})


def print_logs(store: Store, run: str, step: str | None, *, follow: bool) -> None:
    """Every attempt's log of every step (or of `step`), oldest first, and what ended it if it failed; with `follow`, what comes until
    the run ends. Raises NotFound.
    """
    from penstock.store.owners import alive

    home, read, ends = Home.find(), dict[Path, int](), set[str]()
    warned = False
    while True:
        row = store.resources.get("run", run)
        steps = steps_of(row)
        if step is not None and step not in steps and row.phase in ENDED:
            raise NotFound(f"run {run} has no step {step!r} (it has: {', '.join(steps) or 'none'})")
        ended = row.phase in ENDED
        for name, state in steps.items():
            if step in (None, name) and state.get("key"):
                for file in _files(home, state["key"]):
                    for line in _new_lines(file, read, whole=ended):
                        _print(name, line, alone=step is not None)
            if step in (None, name) and state.get("phase") == "failed" and name not in ends:
                ends.add(name)
                for line in _end_of(state):
                    _print(name, line, alone=step is not None)
        sys.stdout.flush()
        if ended or not follow:
            return
        if not warned and row.owner and alive(row.owner) is False:
            warned = True
            here().note(
                f"The process that drove {run} is gone: run its file again, or `penstock up`, to go on; `penstock runs cancel` ends it."
            )
        store.clock.sleep(LOOK_AGAIN_S)


def _end_of(state: Mapping[str, Any]) -> list[str]:
    """The trace of the user's code, or what a stage of Penstock said."""
    error = state.get("error") or {}
    own = error.get("code") == "step-failed" and error.get("trace")
    return [str(line) for line in own] if own else [str(error.get("message") or state.get("message") or "failed")]


def _files(home: Home, key: str) -> list[Path]:
    folder = home.jobs / hex_of(key)
    attempts = [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
    return [p / "log" for p in sorted(attempts, key=lambda p: int(p.name)) if (p / "log").is_file()]


def _new_lines(file: Path, read: dict[Path, int], *, whole: bool) -> Iterator[str]:
    """Lines not read before; an unfinished last line waits, unless the file is `whole`."""
    with file.open("rb") as opened:
        opened.seek(read.get(file, 0))
        data = opened.read()
    end = len(data) if whole else data.rfind(b"\n") + 1
    read[file] = read.get(file, 0) + end
    yield from data[:end].decode("utf-8", "replace").splitlines()


def _print(step: str, line: str, *, alone: bool) -> None:
    text = rendered(line)
    if text is None:
        return
    if here().json:
        sys.stdout.write(json.dumps({"step": step, "line": text}, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{text}\n" if alone else f"{step}: {text}\n")


def rendered(line: str) -> str | None:
    """A log line for people: messages and points of structured lines as text, progress hidden, other lines as they are."""
    if not line.startswith(MARK):
        return line
    try:
        value = json.loads(line[len(MARK) :])
    except ValueError:
        return line
    if isinstance(value, dict) and isinstance(value.get("log"), dict):
        return str(value["log"].get("message", ""))
    if isinstance(value, dict) and isinstance(value.get("point"), dict):
        point = value["point"]
        return f"{point.get('name')} {point.get('value')} at step {point.get('step')}"
    return None
