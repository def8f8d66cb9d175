"""What the server keeps: objects by kind, namespace and name, each change numbered; and the changes, for those who watch.

Values are copied on their way in and never changed after that: readers share them, and must not change them either.
The history is bounded: who asks for what is older is told so (410).
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from penstock.testing.emulators.kubernetes.kinds import Kind

Object = dict[str, Any]
HISTORY = 5000


@dataclass(frozen=True, slots=True)
class Change:
    version: int
    type: str  # ADDED, MODIFIED, DELETED
    kind: Kind
    value: Object


def copied(value: Object) -> Object:
    made: Object = orjson.loads(orjson.dumps(value))
    return made


class Objects:
    """All calls take the lock; `changed` is notified at every change."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.version = 1
        self.floor = 0  # changes up to here are forgotten
        self._values: dict[Kind, dict[tuple[str, str], Object]] = {}
        self._owned: dict[tuple[Kind, str], set[tuple[str, str]]] = {}
        self._history: deque[Change] = deque()

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        with self.lock:
            return self._values.get(kind, {}).get((namespace, name))

    def rows(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        """By namespace and name, as etcd has them."""
        with self.lock:
            found = sorted(self._values.get(kind, {}).items())
            return [value for (at, _), value in found if namespace in (None, at)]

    def owned(self, kind: Kind, uid: str) -> list[Object]:
        """By the owner's uid."""
        with self.lock:
            return [value for key in sorted(self._owned.get((kind, uid), ())) if (value := self._values[kind].get(key)) is not None]

    def everything(self) -> list[tuple[Kind, Object]]:
        with self.lock:
            return [(kind, row) for kind, rows in self._values.items() for row in rows.values()]

    def put(self, kind: Kind, value: Object) -> Object:
        """Writes, with the next resourceVersion; what is the same as before is no change."""
        with self.lock:
            meta = value["metadata"]
            key = (meta.get("namespace", ""), meta["name"])
            rows = self._values.setdefault(kind, {})
            before = rows.get(key)
            if before is not None and _without_version(before) == _without_version(value):
                return before
            self.version += 1
            made = copied({**value, "metadata": {**meta, "resourceVersion": str(self.version)}})
            self._own(kind, key, before, made)
            rows[key] = made
            self._note(Change(self.version, "ADDED" if before is None else "MODIFIED", kind, made))
            return made

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        with self.lock:
            value = self._values.get(kind, {}).pop((namespace, name), None)
            if value is not None:
                self._own(kind, (namespace, name), value, None)
                self.version += 1
                gone = {**value, "metadata": {**value["metadata"], "resourceVersion": str(self.version)}}
                self._note(Change(self.version, "DELETED", kind, gone))

    def since(self, version: int, kind: Kind, namespace: str | None) -> list[Change] | None:
        """Changes after `version`; None when they are forgotten."""
        with self.lock:
            if version < self.floor:
                return None
            found = [c for c in self._history if c.version > version and c.kind == kind]
            return [c for c in found if namespace in (None, c.value["metadata"].get("namespace", ""))]

    def forget(self) -> None:
        """As after a compaction of etcd: no change so far can be watched any more."""
        with self.lock:
            self.version += 1
            self.floor = self.version
            self._history.clear()
            self.changed.notify_all()

    def _own(self, kind: Kind, key: tuple[str, str], before: Object | None, after: Object | None) -> None:
        for value, there in ((before, False), (after, True)):
            for owner in (value or {"metadata": {}})["metadata"].get("ownerReferences") or ():
                keys = self._owned.setdefault((kind, owner["uid"]), set())
                keys.add(key) if there else keys.discard(key)

    def _note(self, change: Change) -> None:
        self._history.append(change)
        while len(self._history) > HISTORY:
            self.floor = self._history.popleft().version
        self.changed.notify_all()


def _without_version(value: Object) -> Object:
    return {**value, "metadata": {k: v for k, v in value["metadata"].items() if k != "resourceVersion"}}
