"""What runs in the container: the job of a URI, its log and failure left in the store, its scratch taken along when the machine goes.

The scratch folder is brought from the newest copy and copied again every COPY_S once it has been left alone for a moment, and when the
machine is asked to go (SIGTERM). So work goes on where it was after a spot machine was taken away.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, Interrupted
from penstock.platforms.contract import JobResult, JobSpec
from penstock.platforms.execute import execute
from penstock.platforms.failures import describe
from penstock.platforms.handed import Caller, folder_of
from penstock.platforms.log_lines import LineWriter
from penstock.platforms.remote.carrying import landed
from penstock.platforms.remote.cluster_spec import told_by_cluster
from penstock.platforms.remote.hosts_file import say_failure, told_by_file
from penstock.platforms.remote.notes import fail, failure, log_note, reference_of, scratch_note
from penstock.platforms.rendezvous import Node, node_of, place_of, variables

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

COPY_S, STILL_S, SHIP_S = 60.0, 1.0, 1.0


def run(
    job: JobSpec, name: str, artifacts: Artifacts, home: Home, *, stopping: Callable[[], bool], say: Callable[[bytes], object]
) -> JobResult:
    """Raises what the stage raises, after it was written down. Of several machines, the first one's log and scratch are the step's."""
    os.environ.update(told_by_file(os.environ))
    os.environ.update(told_by_cluster(os.environ))
    node = node_of(os.environ)
    if node.nodes > 1:
        os.environ.update(variables(node, place_of(node, os.environ)))
    reference = reference_of(job.key, job.attempt)
    scratch = folder_of(home, job.key) / "scratch"
    restore(job.key, scratch, artifacts)
    if not node.leads:
        return _follow(job, name, artifacts, home, node, stopping=stopping, say=say)
    shipped = Shipped(artifacts, reference, name, say)
    lines, keeper = LineWriter(shipped.take), Keeper(job.key, scratch, artifacts)
    keeper.start()
    caller = Caller(lines, stopping, lambda error: _tell(error, job, name, artifacts))
    try:
        return execute(landed(job, artifacts), artifacts, home, caller, node)
    except BaseException as error:
        keeper.copy()
        _tell(error, job, name, artifacts)
        raise
    finally:
        keeper.stop()
        lines.close()
        shipped.close()


def _follow(
    job: JobSpec, name: str, artifacts: Artifacts, home: Home, node: Node, *, stopping: Callable[[], bool], say: Callable[[bytes], object]
) -> JobResult:
    """A machine that works along: its log stays with its container, its failure is told."""
    lines = LineWriter(say)
    caller = Caller(lines, stopping, lambda error: _tell(error, job, name, artifacts))
    try:
        return execute(landed(job, artifacts), artifacts, home, caller, node)
    except BaseException as error:
        _tell(error, job, name, artifacts)
        raise
    finally:
        lines.close()


def _tell(error: BaseException, job: JobSpec, name: str, artifacts: Artifacts) -> None:
    """Of several machines the first to fail says why; the others are then only asked to stop."""
    reference = reference_of(job.key, job.attempt)
    known = failure(artifacts, reference, name)
    if known is None or known.get("code") == Interrupted.code:
        told = describe(error, job.code_path)
        fail(artifacts, reference, name, told)
        say_failure(os.environ, str(told.get("message", "")))


def restore(key: str, scratch: Path, artifacts: Artifacts) -> bool:
    """Brings the newest copy; False when there is none, or it cannot be read: then the work begins anew."""
    data = artifacts.get_note(scratch_note(key))
    if data is None or (scratch.exists() and any(scratch.iterdir())):
        return False
    try:
        source = artifacts.materialize(json.loads(data)["digest"])
    except (ArtifactMissing, ArtifactCorrupt):
        return False
    shutil.copytree(source, scratch, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return True


class Shipped:
    """Log lines to standard output at once, and to the store in pieces, SHIP_S later at most."""

    def __init__(self, artifacts: Artifacts, reference: str, name: str, say: Callable[[bytes], object]) -> None:
        self._artifacts, self._reference, self._name, self._say = artifacts, reference, name, say
        self._held: list[bytes] = []
        self._piece = 0
        while artifacts.get_note(log_note(reference, name, self._piece)) is not None:
            self._piece += 1  # this container began before, on a machine that was taken away
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="penstock-shipping", daemon=True)
        self._thread.start()

    def take(self, data: bytes) -> None:
        self._say(data)
        with self._lock:
            self._held.append(data)

    def close(self) -> None:
        """Sends what is left."""
        self._ended.set()
        self._thread.join()
        self._send()

    def _work(self) -> None:
        while not self._ended.wait(SHIP_S):
            self._send()

    def _send(self) -> None:
        with self._lock:
            held, self._held = self._held, []
        if held:
            self._artifacts.put_note(log_note(self._reference, self._name, self._piece), b"".join(held))
            self._piece += 1


class Keeper:
    """Copies the scratch folder to the store now and then."""

    def __init__(self, key: str, scratch: Path, artifacts: Artifacts, every_s: float = COPY_S) -> None:
        self._key, self._scratch, self._artifacts, self._every_s = key, scratch, artifacts, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="penstock-scratch", daemon=True)
        self._kept = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def copy(self) -> bool:
        """False when there is nothing new. A copy that is made while files change is dropped: the next one may be whole."""
        if not self._scratch.is_dir() or not any(self._scratch.iterdir()):
            return False
        before = _state(self._scratch)
        with tempfile.TemporaryDirectory(dir=self._scratch.parent) as place:
            target = Path(place) / "copy"
            try:
                shutil.copytree(self._scratch, target)
            except (shutil.Error, FileNotFoundError):
                return False
            if _state(self._scratch) != before:
                return False
            digest = self._artifacts.commit(target, "scratch", {}, consume=True).digest
        if digest == self._kept:
            return False
        self._artifacts.put_note(scratch_note(self._key), json.dumps({"digest": digest}).encode())
        self._kept = digest
        return True

    def _work(self) -> None:
        while not self._ended.wait(self._every_s):
            before = _state(self._scratch)
            if not self._ended.wait(STILL_S) and before == _state(self._scratch):
                self.copy()


def _state(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        found.append((str(path), stat.st_size, stat.st_mtime_ns))
    return found
