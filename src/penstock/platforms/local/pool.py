"""A pool of warm workers and the thread that watches over them.

The watcher starts workers, hears them through a selector, and enforces time and memory limits. Nothing polls while nothing
runs. All shared state is behind one lock.
Not covered: the record on disk and idempotence (jobs.py).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from penstock.core.home import Home
from penstock.platforms.contract import JobState
from penstock.platforms.failures import describe
from penstock.platforms.jobs_codec import state_from_json
from penstock.platforms.local import endings
from penstock.platforms.local.process import tree_memory_bytes
from penstock.platforms.local.task import FOREVER, Task
from penstock.platforms.local.workers import WorkerProcess


class Pool:
    def __init__(self, home: Home, limit: int, grace_s: float, ended: Callable[[Task, bool], None]) -> None:
        """`ended(task, by_worker)` is called once per task, with the lock held; `by_worker` when the worker has recorded the end itself."""
        self._home, self._limit, self._grace_s, self._ended = home, limit, grace_s, ended
        self.lock = threading.RLock()
        self.changed = threading.Event()
        self._queue: list[Task] = []
        self._tasks: dict[WorkerProcess, Task] = {}
        self._workers: list[WorkerProcess] = []
        self._warm_next: list[tuple[str, ...]] = []
        self._closing = False
        self._oom_kills = endings.kills_for_memory()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._thread: threading.Thread | None = None

    def add(self, task: Task) -> None:
        """Starts the task on an idle worker at once, else as soon as there is one."""
        with self.lock:
            if task.ended:
                return
            if self._closing:
                self._finish(task, JobState("failed", error=endings.lost(task.job.step)), by_worker=False)
                return
            self._queue.append(task)
            self._assign()
            if self._queue:
                self._wake()

    def warm(self, stages: Iterable[str]) -> None:
        with self.lock:
            self._warm_next.append(tuple(stages))
            self._wake()

    def end(self, task: Task, verdict: JobState, *, grace_s: float | None = None) -> None:
        """Ends a task early: asks, then kills after `grace_s` seconds. The first verdict stands."""
        with self.lock:
            if task.ended or task.verdict is not None:
                return
            task.verdict = verdict
            if task.worker is None:
                with contextlib.suppress(ValueError):
                    self._queue.remove(task)
                self._finish(task, verdict, by_worker=False)
                return
            grace_s = self._grace_s if grace_s is None else grace_s
            task.kill_at = time.monotonic() + grace_s
            if grace_s > 0:
                task.worker.ask_to_stop()
            self._wake()

    def close(self) -> None:
        """Idle workers leave; running ones are asked to stop, then killed; their jobs can be submitted again."""
        with self.lock:
            if self._closing:
                return
            self._closing = True
            self._queue.clear()
            for task in list(self._tasks.values()):
                self.end(task, JobState("failed", error=endings.lost(task.job.step)))
            for worker in self._workers:
                if not worker.busy:
                    worker.leave()
            if self._thread is not None:
                self._wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for handle in (self._wake_read, self._wake_write):
            os.close(handle)
        self._selector.close()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="penstock-workers", daemon=True)
            self._thread.start()
        os.write(self._wake_write, b"w")

    def _watch(self) -> None:
        try:
            self._watch_on()
        except BaseException as error:
            # Nobody would watch from here on: every step says so, none is waited for in vain.
            with self.lock:
                for task in [*self._queue, *self._tasks.values()]:
                    self._finish(task, JobState("failed", error=describe(error)), by_worker=False)
                self._queue.clear()
                self._tasks.clear()
            raise

    def _watch_on(self) -> None:
        while True:
            with self.lock:
                self._start_workers()
                self._enforce()
                if self._closing and not self._workers:
                    return
                pause = min((task.next_look(time.monotonic()) for task in self._tasks.values()), default=FOREVER)
            for key, _ in self._selector.select(None if pause == FOREVER else pause):
                if key.fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    continue
                with self.lock:
                    self._hear(key.data)

    def _assign(self) -> None:
        """Queued tasks to idle workers: those that imported the stage already, then those not busy with imports, first."""
        for task in list(self._queue):
            idle = [w for w in self._workers if not w.busy and w.python == task.python and not (w.warming and task.job.stage not in w.warm)]
            if not idle:
                continue
            worker = min(idle, key=lambda w: (task.job.stage not in w.warm, w.warming > 0, len(w.warm)))
            if task.job.memory_bytes and tree_memory_bytes(worker.pid) > task.job.memory_bytes // 2:
                worker.leave()  # what it imported for others would count against this step
                continue
            self._queue.remove(task)
            self._tasks[worker] = task
            task.worker, task.began_at = worker, time.monotonic()
            task.deadline = task.began_at + task.job.timeout_s if task.job.timeout_s else FOREVER
            task.state = JobState("running", started_at=time.time())
            worker.run(task.job, task.folder, self._home)
            if task.job.timeout_s or task.measured:
                self._wake()

    def _start_workers(self) -> None:
        """A worker for each task that waits without one, up to the limit; idle workers of other interpreters make room."""
        while self._warm_next and not self._closing:
            stages = self._warm_next.pop(0)
            worker = next((w for w in self._workers if not w.busy and w.python == sys.executable), None)
            if worker is None and len(self._workers) < self._limit:
                worker = self._start(sys.executable)
            if worker is not None and stages:
                worker.preimport(stages)
        self._assign()
        while self._queue and not self._closing:
            python = self._queue[0].python
            if len(self._workers) >= self._limit:
                for spare in [w for w in self._workers if not w.busy and w.python != python][:1]:
                    spare.leave()
                break
            self._start(python)
            self._assign()

    def _start(self, python: str) -> WorkerProcess:
        self._home.jobs.mkdir(parents=True, exist_ok=True)
        worker = WorkerProcess.start(python, self._home.jobs / "workers.log")
        self._workers.append(worker)
        self._selector.register(worker.events, selectors.EVENT_READ, worker)
        if worker.death >= 0:
            self._selector.register(worker.death, selectors.EVENT_READ, worker)
        return worker

    def _enforce(self) -> None:
        now = time.monotonic()
        for worker, task in list(self._tasks.items()):
            if now >= task.kill_at:
                worker.kill()
            elif now >= task.deadline:
                self.end(task, JobState("failed", error=endings.past_timeout(task.job)))
            elif task.measured:
                seen = tree_memory_bytes(worker.pid)
                task.peak_bytes = max(task.peak_bytes, seen)
                if task.job.memory_bytes and seen > task.job.memory_bytes:
                    self.end(task, JobState("failed", error=endings.past_memory(task.job, seen)), grace_s=0)
                    worker.kill()

    def _hear(self, worker: WorkerProcess) -> None:
        if worker not in self._workers:
            return
        for event in worker.heard():
            if event["event"] == "warmed":
                worker.warming -= 1
            elif event["event"] == "ended" and (task := self._tasks.pop(worker, None)) is not None:
                worker.busy = False
                if event["spent"] or self._closing:
                    worker.leave()
                state = state_from_json(event["state"])
                if not event["interrupted"]:
                    self._finish(task, state, by_worker=True)
                else:
                    verdict = task.verdict or endings.asked_from_outside(task.job, task.folder)
                    self._finish(task, replace(verdict, peak_memory_bytes=state.peak_memory_bytes), by_worker=False)
        if worker.ended():
            self._bury(worker)
        self._assign()

    def _bury(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        for handle in (worker.events, worker.death):
            if handle >= 0:
                self._selector.unregister(handle)
        status = worker.bury()
        kills, before = endings.kills_for_memory(), self._oom_kills
        self._oom_kills = kills
        task = self._tasks.pop(worker, None)
        if task is not None:
            by_system = status == -signal.SIGKILL and kills > before
            error = endings.died(task.job, status, by_system)
            if status > 0 and not (task.folder / "running.json").exists():
                error = endings.never_began(task.job, status, self._home.jobs / "workers.log")
            verdict = task.verdict or JobState("failed", error=error)
            if (task.folder / "cancel").exists():
                verdict = endings.asked_from_outside(task.job, task.folder)
            self._finish(task, verdict, by_worker=False)

    def _finish(self, task: Task, state: JobState, *, by_worker: bool) -> None:
        peak = max(state.peak_memory_bytes or 0, task.peak_bytes) or None
        started = state.started_at or task.state.started_at
        task.state = replace(state, started_at=started, ended_at=state.ended_at or time.time(), peak_memory_bytes=peak)
        task.worker = None
        self._ended(task, by_worker)
        self.changed.set()
