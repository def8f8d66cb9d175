"""What the story happens in: a home of its own, a database that can be restarted, a client that counts, and hands that break things."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from penstock.testing.postgres import PostgresServer, binaries, running

HERE = Path(__file__).resolve().parent
PAUSE_S, LOOK_S = 1.0, 0.3
UP_TRIES = 10


class Broken(Exception):
    """The story did not go as it should. The message says what was expected and what came."""


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


class House:
    """`folder` is emptied first. `server`: the database; None where PostgreSQL is not installed, and SQLite serves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server: PostgresServer | None = None
        self.began = time.time()
        self._client: subprocess.Popen[bytes] | None = None
        self.rate = 0.0  # requests a second; `mix` tells the client

    @contextlib.contextmanager
    def open(self) -> Iterator[House]:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.copy(HERE / "penstock.yaml", self.folder)
        os.environ["PENSTOCK_HOME"] = str(self.folder / ".penstock")
        with contextlib.ExitStack() as stack:
            if binaries() is not None:
                self.server = stack.enter_context(running())
                os.environ["PENSTOCK_DATABASE"] = stack.enter_context(self.server.fresh_database())
            stack.callback(self.close)
            yield self

    def close(self) -> None:
        if self._client is not None and self._client.poll() is None:
            self._client.terminate()
            self._client.wait(10)
        subprocess.run([sys.executable, "-m", "penstock", "down"], cwd=self.folder, stdout=subprocess.DEVNULL, check=False)

    def tell(self, text: str) -> None:
        print(f"{time.time() - self.began:6.0f} s  {text}", flush=True)

    def penstock(self, *words: str, exits: tuple[int, ...] = (0,)) -> Any:
        """What the command says with --json. Raises Broken for another exit code."""
        command = [sys.executable, "-m", "penstock", *words, "--json"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        expect(done.returncode in exits, f"penstock {' '.join(words)}: exit {done.returncode}\n{done.stderr[-2000:]}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def start_client(self, url: str, rate: float) -> None:
        key = self.penstock("keys", "create", "story")["key"]
        place = self.folder / "client"
        place.mkdir()
        for name in ("known", "new"):
            shutil.copy(self.folder / "data" / f"{name}.csv", place)
        (place / "orders.json").write_text(json.dumps({"url": url, "key": key, "model": "story"}))
        self.rate = rate
        self.mix(0.0)
        self._client = subprocess.Popen([sys.executable, str(HERE / "client.py"), str(place)])

    def mix(self, new: float, *, stop: bool = False) -> None:
        """`new`: share of requests that are about new intents."""
        part = self.folder / "client" / ".mix"
        part.write_text(json.dumps({"rate": self.rate, "new": new, "rated": 1.0, "stop": stop}))
        part.replace(self.folder / "client" / "mix.json")

    def stop_client(self) -> dict[str, Any]:
        """What it counted in the end."""
        self.mix(0.0, stop=True)
        assert self._client is not None
        self._client.wait(60)
        return self.counts()

    def counts(self) -> dict[str, Any]:
        counted: dict[str, Any] = json.loads((self.folder / "client" / "counts.json").read_bytes())
        return counted

    def wait(self, what: str, condition: Callable[[], Any], timeout_s: float) -> Any:
        """What `condition` gives, once it is true. Raises Broken in time."""
        end = time.monotonic() + timeout_s
        while not (found := condition()):
            expect(time.monotonic() < end, f"{what}: not within {timeout_s:.0f} s")
            failed = self.counts()["failed"] if self._client is not None and (self.folder / "client" / "counts.json").exists() else 0
            expect(failed == 0, f"{failed} requests failed; see {self.folder / 'client' / 'failures.jsonl'}")
            time.sleep(PAUSE_S)
        return found

    # hands that break things

    def restart_database(self) -> bool:
        """At once, as a crash would. False: there is none that could be."""
        if self.server is None:
            return False
        self.server.restart()
        return True

    def kill_control(self) -> None:
        """kill -9 of the background process, which is then started again; gateway and replicas go on meanwhile."""
        state = self.folder / ".penstock" / "up.json"
        with contextlib.suppress(OSError, ValueError, KeyError):
            os.kill(int(json.loads(state.read_bytes())["pid"]), signal.SIGKILL)
        for _ in range(UP_TRIES):
            try:
                self.penstock("up")
                return
            except Broken as error:  # the database is away for a moment
                refused = error
                time.sleep(PAUSE_S)
        raise refused

    def replica_pid(self, version: int) -> int | None:
        """Of one replica of the version; None while it has none."""
        for spec in sorted((self.folder / ".penstock" / "replicas" / "story").glob("*/spec.json")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                if json.loads(spec.read_bytes())["version"] == str(version):
                    pid = int(json.loads((spec.parent / "pid.json").read_bytes())["pid"])
                    if psutil.pid_exists(pid):
                        return pid
        return None

    @contextlib.contextmanager
    def slowed(self, version: int, stopped_s: float, working_s: float) -> Iterator[None]:
        """The version's replica gets the processor only now and then."""
        over = threading.Event()

        def brake() -> None:
            while not over.is_set():
                with contextlib.suppress(ProcessLookupError):
                    if pid := self.replica_pid(version):
                        os.kill(pid, signal.SIGSTOP)
                        over.wait(stopped_s)
                        os.kill(pid, signal.SIGCONT)
                over.wait(working_s)

        thread = threading.Thread(target=brake)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextlib.contextmanager
    def killing_at(self, look: Callable[[], Any]) -> Iterator[list[str]]:
        """While the block runs, the background process is killed whenever `look` gives something else; gives what it was killed at.

        Raises Broken at the end of the block when it could not be started again.
        """
        over, killed, broken = threading.Event(), list[str](), list[Broken]()

        def watch() -> None:
            last = look()
            while not over.wait(LOOK_S):
                now = last
                with contextlib.suppress(Exception):  # the database is away for a moment
                    now = look()
                if now != last:
                    last = now
                    killed.append(str(now))
                    try:
                        self.kill_control()
                    except Broken as error:
                        broken.append(error)
                        return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield killed
        finally:
            over.set()
            thread.join()
        if broken:
            raise broken[0]
