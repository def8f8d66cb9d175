"""What the cluster says of our objects of one kind, kept up to date by a watch: list, then follow; after 410 list anew.

The thread starts at the first look and ends by `close`, with the process, or once nobody holds the object any more.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Mapping

from penstock.core.errors import PenstockError
from penstock.platforms.kubernetes.api import Api, Object
from penstock.platforms.kubernetes.errors import Answered, may_pass

WATCH_S = 240.0  # that the server is asked to keep one watch open
LOST = 3  # connections that broke in a row
PAUSE_S = (0.2, 0.5, 1.0, 2.0, 5.0)


class Watched:
    """Objects of a kind that carry our labels, by name. `by`: a label that they are grouped by. `changed` is set at every change."""

    def __init__(self, api: Api, kind: str, selector: str, by: str = "") -> None:
        self._api, self._kind, self._selector, self._by = api, kind, selector, by
        self._rows: dict[str, Object] = {}
        self._groups: dict[str, dict[str, Object]] = {}
        self._at = ""  # the version that was heard last
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._tried, self._synced, self._ended = threading.Event(), threading.Event(), threading.Event()
        self.changed = threading.Event()
        self.relists = 0

    def get(self, name: str) -> Object | None:
        """As last heard; asked for directly while nothing was heard of it, or while the watch is broken. Raises what the call does."""
        self._start()
        self._tried.wait(5.0)
        if self._synced.is_set():
            with self._lock:
                if name in self._rows:
                    return self._rows[name]
        return self._api.get(self._kind, name)

    def group(self, value: str) -> list[Object]:
        """Those whose label `by` has the value: as last heard, else as a list says now. Raises what the call does."""
        self._start()
        self._tried.wait(5.0)
        if not self._synced.is_set():
            return self._api.rows(self._kind, f"{self._selector},{self._by}={value}")[0]
        with self._lock:
            return list(self._groups.get(value, {}).values())

    def put(self, value: Object) -> None:
        """What a call just answered, so that it is not asked for again; news that are newer stay."""
        name = value["metadata"]["name"]
        with self._lock:
            known = self._rows.get(name)
            if known is None or _version(known) < _version(value):
                self._rows[name] = value
                self._groups.setdefault(self._group_of(value), {})[name] = value

    def forget(self, name: str) -> None:
        with self._lock:
            value = self._rows.pop(name, None)
            if value is not None:
                self._groups.get(self._group_of(value), {}).pop(name, None)

    def wait(self, timeout_s: float) -> bool:
        """True as soon as something changed since the last call."""
        self._start()
        happened = self.changed.wait(timeout_s)
        self.changed.clear()
        return happened

    def close(self) -> None:
        self._ended.set()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                name = f"penstock-watch-{self._kind}"
                self._thread = threading.Thread(target=_work, args=(weakref.ref(self), self._ended), name=name, daemon=True)
                self._thread.start()

    def round(self, failures: int) -> int:
        """One watch from what was heard last (or after a new list) to its end; how many ended badly in a row."""
        began = time.monotonic()
        try:
            if not self._at:
                self._list()
            self._follow()
            return 0 if time.monotonic() - began > 1.0 else failures + 1  # ended in good order: it goes on from there
        except Answered as answer:
            # Too old to go on from (410): what happened meanwhile is in a new list. Other refusals may be mended by somebody.
            self._at = ""
            if answer.status != 410:
                self._synced.clear()
            return failures + (answer.status != 410)
        except PenstockError:
            self._at = ""
            self._synced.clear()
            return failures + 1
        except Exception as error:
            if not may_pass(error):
                raise
            if failures + 1 >= LOST:  # what was heard is no news any more: the next look asks, and says what is wrong
                self._at = ""
                self._synced.clear()
            return failures + 1
        finally:
            self._tried.set()

    def _list(self) -> None:
        rows, self._at = self._api.rows(self._kind, self._selector)
        with self._lock:
            self._rows, self._groups = {row["metadata"]["name"]: row for row in rows}, {}
            for name, row in self._rows.items():
                self._groups.setdefault(self._group_of(row), {})[name] = row
        self.relists += 1
        self._synced.set()
        self._tried.set()
        self.changed.set()

    def _group_of(self, value: Object) -> str:
        return str((value["metadata"].get("labels") or {}).get(self._by, ""))

    def _follow(self) -> None:
        for event in self._api.watch(self._kind, self._selector, self._at, WATCH_S):
            value = event["object"]
            self._at = str(value["metadata"].get("resourceVersion", self._at))
            if event["type"] == "DELETED":
                self.forget(value["metadata"]["name"])
            elif event["type"] != "BOOKMARK":
                self.put(value)
            if event["type"] != "BOOKMARK":
                self.changed.set()
            if self._ended.is_set():
                break


def _work(watched: weakref.ref[Watched], ended: threading.Event) -> None:
    failures = 0
    while not ended.is_set() and (held := watched()) is not None:
        failures = held.round(failures)
        del held  # while it pauses, nobody but its users holds it
        if failures:
            ended.wait(PAUSE_S[min(failures, len(PAUSE_S)) - 1])


def _version(value: Mapping[str, object]) -> int:
    """Versions are opaque by the book; where they are numbers, as from etcd, the larger is the newer."""
    meta = value["metadata"]
    text = str(meta.get("resourceVersion", "0")) if isinstance(meta, Mapping) else "0"
    return int(text) if text.isdecimal() else 0
