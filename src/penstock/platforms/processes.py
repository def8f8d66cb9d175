"""The processes of one machine that run a step together: started, watched and ended here, on every platform.

Each is `python -m penstock.platforms.member`, as torchrun would start it. The first to fail says why and the others are ended, before they
can hear of it: a collective that breaks is never the cause that is told. What the first process of a machine says is the machine's log;
what the others print lies in `process-<local rank>.log` beside the step's scratch.
Not covered: fewer processes going on after one is lost (the step is tried again, from its checkpoint).
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import Interrupted, PenstockError, StepFailed
from penstock.platforms.contract import JobSpec
from penstock.platforms.failures import Told, error_json
from penstock.platforms.handed import Caller, Draft, StagedOutputs, folder_of, threads_for
from penstock.platforms.jobs_codec import job_to_json
from penstock.platforms.local.process import kill_tree
from penstock.platforms.log_lines import Emit, parse
from penstock.platforms.rendezvous import Node, place_of, variables
from penstock.stages.contract import Metrics

if TYPE_CHECKING:
    from penstock.core.home import Home

LOOK_S = 0.1  # between looks whether the step was asked to stop
SAVING_S = 60.0  # that the others have once one stopped as asked
LEAVING_S = 10.0  # that one has whose work is done
TAIL_LINES = 8


@dataclass(slots=True, eq=False)
class Member:
    """`done`: what it left, once it ended well; `error`: what it said that it failed by, and when (monotonic seconds)."""

    rank: int
    process: subprocess.Popen[bytes]
    says: int  # descriptor
    log: Path | None
    unread: bytes = b""
    done: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    failed_at: float = 0.0

    @classmethod
    def start(cls, task: bytes, rank: int, environment: Mapping[str, str], log: Path | None) -> Member:
        """It gets an end of a pipe to say things through, and ends itself when its standard input does."""
        reads, writes = os.pipe()
        with contextlib.ExitStack() as stack:
            out = None if log is None else stack.enter_context(open(log, "wb"))
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "penstock.platforms.member", str(writes)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=None if out is None else subprocess.STDOUT,
                env={**os.environ, **environment},
                pass_fds=[writes],
            )
        os.close(writes)
        os.set_blocking(reads, False)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end says why
            process.stdin.write(task)
            process.stdin.flush()
        return cls(rank, process, reads, log)

    @property
    def over(self) -> bool:
        return self.done is not None or self.error is not None

    def hear(self, emit: Emit) -> bool:
        """Takes what it said; False once it can say no more."""
        try:
            data = os.read(self.says, 1 << 16)
        except BlockingIOError:
            return True
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            event = parse(line.decode())
            if event is not None:
                emit(event)
                continue
            told = json.loads(line)
            self.done, self.error, self.failed_at = told.get("done"), told.get("failed"), told.get("at", 0.0)
        return bool(data)

    def died(self, step: str, asked: bool) -> Mapping[str, Any]:
        """As an error, that it is gone without a word. `asked`: to stop; it may not have been up to hear that."""
        status = self.process.wait()
        if asked and status == -signal.SIGTERM:
            return error_json(Interrupted(f"process {self.rank} of step {step!r} was stopped before it began"))
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
        tail = [] if self.log is None else self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        message = "\n".join([f"process {self.rank} of step {step!r} {how}", *tail])
        return error_json(StepFailed(message), "ProcessKilled" if status < 0 else "ProcessExited", status < 0)

    def end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.0 if self.done is None else LEAVING_S)
        kill_tree(self.process.pid)
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        os.close(self.says)


def run_processes(job: JobSpec, home: Home, node: Node, outputs: StagedOutputs, caller: Caller) -> Metrics:
    """Metrics and `outputs` of the first one, once all ended well. Raises what the first that failed says (a Told), or Interrupted."""
    dropped = folder_of(home, job.key) / "dropped"
    shutil.rmtree(dropped, ignore_errors=True)
    members: list[Member] = []
    try:
        _start(job, home, node, (outputs.staging, dropped), members)
        error = _followed(job, members, caller)
        if error is not None:
            caller.failed(error)
            raise error
    finally:
        for member in members:
            member.end()
        shutil.rmtree(dropped, ignore_errors=True)
    left = members[0].done
    assert left is not None
    for name, (kind, meta) in left["outputs"].items():
        outputs.drafts[name] = Draft(outputs.staging / name, kind, meta)
    metrics: Metrics = left["metrics"]
    return metrics


def _start(job: JobSpec, home: Home, node: Node, places: tuple[Path, Path], members: list[Member]) -> None:
    """Adds to `members`. `places`: what the first one writes to, and where the others have folders that nobody looks into."""
    threads = max(1, threads_for(job.cpus) // job.processes)
    where = {"folder": str(home.folder), "database_url": home.database_url, "artifacts_url": home.artifacts_url}
    place, folder = place_of(node, os.environ), folder_of(home, job.key)
    for local in range(job.processes):
        peers = node.peers(job.processes, local)
        task = {"job": job_to_json(job), "home": where, "threads": threads, "peers": [peers.rank, peers.size, peers.local]}
        task["staging"] = str(places[1] / str(local) if local else places[0])
        environment = {**variables(node, place, job.processes, local), "OMP_NUM_THREADS": str(threads)}
        log = folder / f"process-{local}.log" if local else None
        members.append(Member.start(json.dumps(task).encode() + b"\n", peers.rank, environment, log))


def _followed(job: JobSpec, members: Sequence[Member], caller: Caller) -> PenstockError | None:
    """Until all are over, or one failed: by what. While they stop as asked none is ended early: one may still save."""
    asked, patience = False, float("inf")
    with selectors.DefaultSelector() as selector:
        for member in members:
            selector.register(member.says, selectors.EVENT_READ, member)
        while not all(member.over for member in members) and time.monotonic() < patience:
            if caller.stopping() and not asked:
                asked = True
                for member in members:
                    member.process.send_signal(signal.SIGTERM)
            for key, _ in selector.select(LOOK_S):
                member = key.data
                if not member.hear(caller.emit):
                    selector.unregister(member.says)
                    if not member.over:
                        member.error = member.died(job.step, asked)  # at 0: before all that others may have felt of it
            errors = [member.error for member in members if member.error is not None]
            if any(error["code"] == Interrupted.code for error in errors):
                patience = min(patience, time.monotonic() + SAVING_S)
            elif errors and not asked:
                break
    return _cause(members, asked)


def _cause(members: Sequence[Member], asked: bool) -> PenstockError | None:
    """What failed first; of those that were `asked` to stop, what one says that did: the others only missed it."""
    failed = [(member.failed_at, member.error) for member in members if member.error is not None]
    if not failed:
        return None
    _, error = min(failed, key=lambda each: (not (asked and each[1]["code"] == Interrupted.code), each[0]))
    return Interrupted(str(error["message"])) if error["code"] == Interrupted.code else Told(error)
