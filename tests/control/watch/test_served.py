"""A real gateway and replicas, requests and feedback over HTTP, and the signals that come of them, within their time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from penstock.control.watch.watcher import Watcher
from penstock.core.home import Home
from penstock.monitoring.windows.window import by_version
from penstock.store.signals import Signal
from penstock.store.store import Store
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of, wait_for
from penstock.testing.watched import deployment, registered

WITHIN_S = 2.5  # of the end of its window; what is stated is two seconds, the rest is for a busy machine


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as made:
        yield made


class Watching(threading.Thread):
    """Turns, as the process does it, and notes when each instant's signals were first seen."""

    def __init__(self, watcher: Watcher, store: Store) -> None:
        super().__init__()
        self.watcher, self.store, self.done = watcher, store, threading.Event()
        self.seen: dict[float, float] = {}

    def run(self) -> None:
        while not self.done.is_set():
            while self.watcher.turn():
                pass
            for signal in self.store.signals.latest("echo"):
                self.seen.setdefault(signal.at, time.time())
            self.done.wait(0.5)

    def finish(self) -> list[Signal]:
        self.done.set()
        self.join()
        return self.store.signals.read("echo")


def rated(gateway: RunningGateway, ident: str, **what: object) -> None:
    headers = {"authorization": f"Bearer {SECRET}"}
    answer = httpx.post(f"{gateway.url}/v1/feedback", json={"id": ident, **what}, headers=headers, timeout=10, **PLAIN)
    assert answer.status_code == 200


def test_requests_and_feedback_become_signals(stage: Stage) -> None:
    first, second = stage.replica("r-1", version="1"), stage.replica("r-2", version="2")
    gateway = stage.gateway(snapshot_of(1, ("1", 0.5, [first]), ("2", 0.5, [second])))
    home = Home(stage.folder, f"sqlite:///{stage.folder / 'db'}", (stage.folder / "artifacts").as_uri())
    store = Store.open(home)
    registered(store, "echo")
    deployment(store, "echo", versions=(1, 2), window=2, slices=["route"])
    watching = Watching(Watcher(home, store), store)
    watching.start()
    try:
        idents = []
        for number in range(40):
            answer = gateway.ask(user=f"user-{number}", max_tokens=4)
            assert answer.status_code == 200
            idents.append(answer.headers["x-request-id"])
        assert gateway.ask({"authorization": "Bearer psk-wrong"}).status_code == 401
        assert gateway.ask(max_tokens=-1).status_code == 400
        gateway.stream(max_tokens=8)
        for ident in idents[:10]:
            rated(gateway, ident, thumbs="up")
        rated(gateway, idents[0], thumbs="down")
        until = time.time()
        wait_for(lambda: watching.watcher.until > until + 3, 20, "the windows of all that")
    finally:
        made = watching.finish()
        watching.watcher.close()
        store.close()
    whole = [s for s in made if not s.version and not s.slice]
    assert sum(s.value for s in whole if s.name == "requests") == 42
    assert sum(s.value * s.count for s in whole if s.name == "refused_rate") == pytest.approx(1)
    assert sum(s.value for s in whole if s.name == "live.rated") >= 10
    assert sum(s.value * 2 for s in whole if s.name == "tokens_per_s") > 40
    by_versions = {s.version for s in made if s.name == "latency.p95_ms"}
    assert by_versions == {"", "1", "2"}
    assert {s.slice for s in made if s.slice} == {"route=/v1/completions"}
    frames = watching.watcher.following.known["echo"].measures[0].measure._files.read(0.0, time.time())  # type: ignore[union-attr]
    net = sum(w["rated"] - w["withdrawn_rated"] for frame in frames for w in by_version(frame.cells).values())
    score = sum(w["score"] - w["withdrawn_score"] for frame in frames for w in by_version(frame.cells).values())
    assert (net, score) == (10, 9)
    lags = [seen - at for at, seen in watching.seen.items()]
    assert len(lags) >= 2
    assert sorted(lags)[len(lags) // 2] < WITHIN_S, lags
    assert watching.watcher.health.unread == 0
    print("lags", sorted(lags))
