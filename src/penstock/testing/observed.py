"""A gateway with traffic that is watched: two deployments, clients that ask, rate and stream, and a watcher in a thread."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from penstock.control.policy import kept, with_policy
from penstock.control.watch.watcher import Watcher
from penstock.core.home import Home
from penstock.serving.snapshot import Snapshot
from penstock.store.resources import Resource
from penstock.store.store import Store
from penstock.testing.patience import PATIENT_S
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of
from penstock.testing.watched import deployment, registered

MODELS = ("echo", "intents")  # one writes, in two versions; one classifies


@dataclass(slots=True)
class Observed:
    """`share` of the requests to `echo` are made to fail."""

    gateway: RunningGateway
    store: Store
    watcher: Watcher
    failing: float = 0.0
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self._done.wait(0.2):
            while self.watcher.turn():
                pass

    def ask(self) -> None:
        """Until the end: some twenty requests a second, rated and streamed."""
        headers = {"authorization": f"Bearer {SECRET}"}
        with httpx.Client(base_url=self.gateway.url, headers=headers, trust_env=False, timeout=PATIENT_S) as client:
            for number in itertools.count():
                if self._done.wait(0.02):
                    return
                fails = number % 20 < self.failing * 20
                prompt = "boom" if fails else f"a b {'c ' * (number % 7)}"
                asked = {"model": "echo", "prompt": prompt, "max_tokens": 4, "user": f"user-{number}", "stream": number % 2 == 0}
                ident = client.post("/v1/completions", json=asked).headers["x-request-id"]
                client.post("/v1/feedback", json={"id": ident, "score": 0.5})
                told = client.post("/v1/classify", json={"model": "intents", "input": f"text {number}", "user": f"user-{number}"})
                client.post("/v1/feedback", json={"id": told.headers["x-request-id"], "label": ("cards", "billing")[number % 2]})

    def finish(self) -> None:
        self._done.set()


@contextmanager
def observed(folder: Path, echo: Mapping[str, Any], intents: Mapping[str, Any]) -> Iterator[Observed]:
    """`echo`, `intents`: sections of the file that each deployment carries (those of `deploy`, and `monitor`, `alerts`, …)."""
    with Stage(folder) as stage:
        home = Home(folder, f"sqlite:///{folder / 'db'}", (folder / "artifacts").as_uri())
        store = Store.open(home)
        rows = [_row(store, "echo", "text-generation", (1, 2), echo), _row(store, "intents", "text-classification", (1,), intents)]
        found = Observed(stage.gateway(_snapshot(stage, rows)), store, Watcher(home, store))
        threads = [threading.Thread(target=target, name=target.__name__) for target in (found.watch, found.ask)]
        for thread in threads:
            thread.start()
        try:
            yield found
        finally:
            found.finish()
            for thread in threads:
                thread.join()
            found.watcher.close()
            store.close()


def _row(store: Store, name: str, task: str, versions: tuple[int, ...], sections: Mapping[str, Any]) -> Resource:
    registered(store, name)
    row = deployment(store, name, versions)
    return store.resources.set_spec("deployment", row.id, {**row.spec, "task": task, "deploy": kept(sections)})


def _snapshot(stage: Stage, rows: list[Resource]) -> Snapshot:
    writes = [(version, 0.5, [stage.replica(f"echo-{version}", version=version)]) for version in ("1", "2")]
    sorts = [("1", 1.0, [stage.replica("intents-1", "intents", settings={"task": "text-classification"})])]
    made = [snapshot_of(1, *versions, model=row.name) for row, versions in zip(rows, (writes, sorts), strict=True)]
    routes = [with_policy(replace(one.models[0], task=row.spec["task"]), row.spec) for one, row in zip(made, rows, strict=True)]
    return replace(made[0], models=tuple(routes))
