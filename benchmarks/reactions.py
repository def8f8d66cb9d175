"""From breach to the end of the way back: a real deployment whose new version begins to fail, and an outside client that counts.

Two ways back: a canary's own `rollback_when`, and the reaction `rollback` of a version that has all the traffic. Breach is the first
failed answer of the new version; the gateway may hide it behind another attempt, so clients see fewer. The way back is complete when
nothing is routed to that version any more.
The engines are small HTTP servers, so what is measured is Penstock: gateway, records, windows, tests, rollout, snapshot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from penstock.control.deployments import desired_deployment, get_deployment, phase_of
from penstock.control.world import World, open_world
from penstock.core.home import Home
from penstock.serving.snapshot import read_snapshot
from penstock.testing.serving import wait_for

NAME = "model"
STRATEGY = {"canary": [0.25, 1.0], "hold": 1.0, "min_requests": 5, "keep_warm": 600.0}
HELD = {**STRATEGY, "hold": 600.0}
REACT = {"when": "error_rate > 5%", "do": "rollback", "name": "back"}


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible engine that says its name, or fails while `broken` is set."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.name, self.broken = name, threading.Event()
        self.failures: list[float] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet

    def do_GET(self) -> None:
        self._say(200, {"object": "list", "data": [{"id": NAME, "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        assert isinstance(self.server, Server)
        if self.server.broken.is_set():
            self.server.failures.append(time.time())
            self._say(500, {"error": {"message": "broken", "type": "server_error"}})
            return
        choice = {"index": 0, "text": self.server.name, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        self._say(200, {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": NAME, "choices": [choice], "usage": usage})

    def _say(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@dataclass
class Client:
    """Asks `rate` times a second from four threads; keeps when each answer failed."""

    url: str
    key: str
    rate: float
    asked: int = 0
    failed: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def asking(self) -> Iterator[None]:
        over = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(over,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _ask(self, over: threading.Event) -> None:
        headers = {"authorization": f"Bearer {self.key}"}
        with httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30) as client:
            while not over.wait(4 / self.rate):
                answer = client.post("/v1/completions", json={"model": NAME, "prompt": "a", "max_tokens": 1, "user": f"{uuid.uuid4()}"})
                self.asked += 1
                if answer.status_code != 200:
                    self.failed.append(time.time())


def penstock(*words: str) -> Any:
    done = subprocess.run([sys.executable, "-m", "penstock", *words, "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"penstock {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


@dataclass(frozen=True)
class Way:
    """Seconds from breach until the snapshot no longer routes to the bad version, and until a client saw the last failed answer.

    `broken`: answers of the version that failed; `failed`: those that a client saw.
    """

    routed_s: float
    last_s: float
    broken: int
    failed: int
    asked: int


def way_back(world: World, url: str, key: str, rate: float, servers: tuple[Server, Server], canary: bool) -> Way:
    bad = servers[1]
    strategy = HELD if canary else STRATEGY
    sections: dict[str, Any] = {"scale": {"min": 1}, "monitor": {"window": 1}, "strategy": strategy}
    sections |= {"rollback_when": ["error_rate > 2%"]} if canary else {"react": [REACT]}
    desired_deployment(world, NAME, NAME, 1, sections, {}, principal="benchmark")
    wait_for(lambda: phase_of(get_deployment(world, NAME)) == "live" and weights(world) == {"1": 1.0}, 60, "version 1 to serve")
    client = Client(url, key, rate)
    with client.asking():
        time.sleep(3.0)
        penstock("deploy", NAME, "2")
        asked: Callable[[], bool] = (lambda: weights(world).get("2") == 0.25) if canary else (lambda: weights(world).get("2") == 1.0)
        wait_for(asked, 120, "version 2 to get requests")
        time.sleep(5.0)
        bad.broken.set()
        wait_for(lambda: weights(world).get("2", 0.0) == 0.0, 60, "the way back")
        routed = time.time()
        time.sleep(2.0)
    bad.broken.clear()
    breach = bad.failures[0]
    return Way(routed - breach, max(client.failed, default=breach) - breach, len(bad.failures), len(client.failed), client.asked)


def weights(world: World) -> dict[str, float]:
    """By version, as the gateway is told."""
    model = next((m for m in read_snapshot(world.home.gateway / "snapshot.json").models if m.name == NAME), None)
    return {} if model is None else {v.version: v.weight for v in model.versions if v.weight}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    options = parser.parse_args()
    print(f"{'way back':34} {'runs':>4} {'breach → routed away, s':>24} {'→ last seen by clients, s':>26} {'failed, seen, asked':>20}")
    for canary, told in ((True, "canary 25 %, rollback_when"), (False, "all traffic, reaction `rollback`")):
        ways = [once(options.rate, canary) for _ in range(options.runs)]
        routed, last = [w.routed_s for w in ways], [w.last_s for w in ways]
        counts = [sum(counted) for counted in zip(*((w.broken, w.failed, w.asked) for w in ways), strict=True)]
        spread = [f"{statistics.median(s):.2f} ({min(s):.2f}–{max(s):.2f})" for s in (routed, last)]
        print(f"{told:34} {len(ways):4} {spread[0]:>24} {spread[1]:>26} {' '.join(map(str, counts)):>20}", flush=True)
    return 0


def once(rate: float, canary: bool) -> Way:
    """In a home of its own."""
    servers = Server("one"), Server("two")
    with tempfile.TemporaryDirectory() as place:
        os.environ["PENSTOCK_HOME"] = str(Path(place) / "home")
        for server in servers:
            penstock("models", "import", NAME, "--url", server.url)
        url, key = penstock("up")["url"], penstock("keys", "create", "benchmark")["key"]
        world = open_world(Home.find())
        try:
            return way_back(world, url, key, rate, servers, canary)
        finally:
            world.store.close()
            penstock("down")
            for server in servers:
                server.shutdown()


if __name__ == "__main__":
    sys.exit(main())
