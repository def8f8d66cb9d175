"""Adapters of replicas that run elsewhere, by two notes in the artifact store: what the control process wants, what a replica holds.

`replicas/<endpoint>/<version>-<bundle>/adapters.json` is replaced whole; the replica's container looks at it every LOOK_S and answers with
`replicas/<endpoint>/<replica>/held.json`. Neither waits for the other, and no vendor is asked.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.core.digests import hex_of
from penstock.core.errors import PenstockError
from penstock.platforms.adapter_lists import list_adapters
from penstock.serving.adapter_file import Held, read_held

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

LOOK_S = 1.0
log = logging.getLogger("penstock.replica")


def wanted_note(endpoint: str, version: str, bundle: str) -> str:
    return f"replicas/{endpoint}/{version}-{hex_of(bundle)[:16]}/adapters.json"


def held_note(endpoint: str, replica: str) -> str:
    return f"replicas/{endpoint}/{replica}/held.json"


class AdapterWishes:
    """The control process's side. What was said and heard last is kept, so that a pass in which nothing changes asks the store little."""

    def __init__(self, artifacts: Artifacts, clock: Callable[[], float] = time.monotonic) -> None:
        self._artifacts, self._clock = artifacts, clock
        self._said: dict[str, Mapping[str, str]] = {}
        self._heard: dict[str, tuple[float, Held]] = {}

    def want(self, endpoint: str, version: str, bundle: str, adapters: Mapping[str, str]) -> None:
        """Written where it is new; where none was ever wanted, nothing is."""
        note = wanted_note(endpoint, version, bundle)
        if note not in self._said:
            data = self._artifacts.get_note(note)
            self._said[note] = {} if data is None else json.loads(data)
        if dict(adapters) != self._said[note]:
            self._artifacts.put_note(note, json.dumps(dict(adapters)).encode())
            self._said[note] = dict(adapters)

    def held(self, endpoint: str, replica: str) -> Held:
        note, now = held_note(endpoint, replica), self._clock()
        at, known = self._heard.get(note, (float("-inf"), Held()))
        if now - at >= LOOK_S:
            known = _read(self._artifacts.get_note(note))
            self._heard[note] = (now, known)
        return known


def _read(data: bytes | None) -> Held:
    value = {"loaded": {}, "errors": {}} if data is None else json.loads(data)
    return Held(value["loaded"], {name: (digest, why) for name, (digest, why) in value["errors"].items()})


class AdapterBringer:
    """The container's side: brings what is wanted to the list that the replica follows, and tells what it holds."""

    def __init__(self, wanted: str, held: str, folder: Path, artifacts: Artifacts) -> None:
        self._wanted, self._held, self._folder, self._artifacts = wanted, held, folder, artifacts
        self._told: Held | None = None

    def start(self) -> None:
        """Brings once, so that a replica is ready with its adapters; then goes on in a thread."""
        self.look()
        threading.Thread(target=self._work, name="penstock-adapters", daemon=True).start()

    def look(self) -> None:
        data = self._artifacts.get_note(self._wanted)
        wanted = {} if data is None else json.loads(data)
        if wanted or self._told not in (None, Held()):
            list_adapters(self._folder, wanted, self._artifacts)
        held = read_held(self._folder)
        if self._told is None:
            self._told = _read(self._artifacts.get_note(self._held))  # an earlier container of this pod may have told
        if held != self._told:
            self._artifacts.put_note(self._held, json.dumps(asdict(held)).encode())
        self._told = held

    def _work(self) -> None:
        while True:
            time.sleep(LOOK_S)
            try:
                self.look()
            except PenstockError as error:
                log.error("the adapters stay as they are: %s", error)
