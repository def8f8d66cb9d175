"""Garbage collection never takes a referenced byte, whatever happens between and inside its steps."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.clock import ManualClock
from penstock.store.builds import Build
from penstock.store.collect import collect_garbage
from penstock.store.local_objects import LocalObjects
from penstock.store.store import Store
from penstock.testing.store.artifacts import fill

DAY_S = 86_400.0
GRACE_S = 3600.0


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.memory(ManualClock())
    yield store
    store.close()


def _root(store: Store) -> Path:
    return Path(store.artifacts.url.removeprefix("file://"))


def _commit(store: Store, texts: tuple[str, ...]) -> str:
    """Committed from files that are old themselves; half of the time moved, not copied."""
    with tempfile.TemporaryDirectory() as folder:
        source = fill(Path(folder), **{f"f{n}": text for n, text in enumerate(texts)})
        for path in source.iterdir():
            os.utime(path, (0, 0))
        return store.artifacts.commit(source, "model", {}, consume=len(texts) % 2 == 0).digest


def _age(store: Store, by_s: float) -> None:
    for path in _root(store).rglob("*"):
        if path.is_file():
            found = path.stat()
            os.utime(path, (found.st_atime - by_s, found.st_mtime - by_s))


def _record(store: Store, key: str, digest: str, step: str = "train", run: str = "r") -> None:
    store.builds.record(Build(key, "p", step, "st", {"o": digest}, {}, {}, 0.0, run, store.clock.now()))


def test_every_kind_of_reference_holds(store: Store) -> None:
    held = [_commit(store, (f"held {n}",)) for n in range(5)]
    loose = _commit(store, ("loose",))
    _record(store, "k", held[0])
    store.registry.register("m", held[1], run="r", task="t", metrics={}, gates=[], facts={"made_from": {"dataset": held[2]}})
    store.registry.record_live("d", [(1, held[3], 1.0)])
    store.resources.create("run", "p", {"inputs": [held[4]]}, due_at=None)
    told = collect_garbage(store, grace_s=-1.0, dry_run=True)
    assert told.swept.artifacts == (loose,)
    assert store.artifacts.has(loose)
    done = collect_garbage(store, grace_s=-1.0)
    assert done.swept.artifacts == (loose,)
    for digest in held:
        store.artifacts.verify(digest)
    store.builds.invalidate("k", "corrupt")
    assert collect_garbage(store, grace_s=-1.0).swept.artifacts == (held[0],)


def test_young_bytes_of_a_running_job_stay(store: Store) -> None:
    copied, moved = _commit(store, ("not yet recorded",)), _commit(store, ("nor", "these"))
    assert collect_garbage(store, grace_s=GRACE_S).swept.artifacts == ()
    store.artifacts.verify(copied)
    store.artifacts.verify(moved)


def test_old_builds_are_given_up_but_for_what_matters(store: Store) -> None:
    digests = {name: _commit(store, (name,)) for name in ("old", "newest", "registered", "in run", "recent")}
    for key in ("old", "registered", "in run"):
        _record(store, key, digests[key], run="r1" if key == "registered" else "r0")
        store.clock.sleep(1)
    _record(store, "newest of another step", digests["newest"], step="tune")
    store.clock.sleep(100 * DAY_S)
    _record(store, "recent", digests["recent"])
    store.registry.register("m", digests["recent"], run="r1", task="t", metrics={}, gates=[], facts={})
    finished = store.resources.create("run", "p", {}, status={"artifacts": [digests["in run"]]}, due_at=None)
    done = collect_garbage(store, 30.0, grace_s=-1.0)
    assert done.given_up == ("old",)
    assert done.swept.artifacts == (digests["old"],)
    assert store.builds.get("old") is None
    store.clock.sleep(31 * DAY_S)
    assert finished.due_at is None
    assert collect_garbage(store, 30.0, grace_s=-1.0).given_up == ("in run",)


def test_nothing_is_given_up_while_somebody_works(store: Store) -> None:
    for key in ("a", "b"):
        _record(store, key, _commit(store, (key,)))
        store.clock.sleep(1)
    store.clock.sleep(100 * DAY_S)
    run = store.resources.create("run", "p", {})
    assert collect_garbage(store, 30.0, grace_s=-1.0).waited == f"{run.id} is not finished"
    store.resources.delete("run", run.id)
    assert store.builds.claim("c", "me", 60.0)
    assert collect_garbage(store, 30.0, grace_s=-1.0).waited == "build c is being made"
    store.clock.sleep(61)
    assert collect_garbage(store, 30.0, grace_s=-1.0).given_up == ("a",)


def test_a_clock_that_leaps_ahead_does_not_make_the_outputs_of_a_running_job_old(store: Store) -> None:
    assert store.builds.claim("k", "me", 60.0)
    digest = _commit(store, ("being made",))
    _age(store, 400 * DAY_S)  # what the files look like after the wall clock leapt
    assert collect_garbage(store, grace_s=GRACE_S).swept.artifacts == ()
    store.artifacts.verify(digest)
    store.builds.unclaim("k", "me")
    assert collect_garbage(store, grace_s=GRACE_S).swept.artifacts == (digest,)


@dataclass
class Interrupting:
    """The objects of a store, with something else happening before the n-th call from now."""

    inner: LocalObjects
    plans: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        return self._wrapped(method) if callable(method) else method

    def _wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._step()
            result = method(*arguments, **options)
            return self._lazily(result) if method.__name__ == "list" else result

        return call

    def _lazily(self, found: Iterator[Any]) -> Iterator[Any]:
        for each in found:
            self._step()
            yield each

    def _step(self) -> None:
        due = [act for left, act in self.plans if left == 0]
        self.plans = [(left - 1, act) for left, act in self.plans if left > 0]
        for act in due:
            act()


@contextmanager
def _interrupted(store: Store, after: int, act: Callable[[], None]) -> Iterator[None]:
    objects = store.artifacts._objects
    assert isinstance(objects, LocalObjects)
    store.artifacts._objects = Interrupting(objects, [(after, act)])
    try:
        yield
    finally:
        store.artifacts._objects = objects


contents = st.sampled_from([("a",), ("a", "b"), ("b", "c", "d")])
moments = st.integers(0, 12)
actions = st.one_of(
    st.tuples(st.just("commit"), contents),
    st.tuples(st.just("collect"), st.booleans()),
    st.tuples(st.just("forget"), contents),
    st.tuples(st.just("collect inside commit"), contents, moments),
    st.tuples(st.just("collect inside first commit"), contents, moments),
    st.tuples(st.just("commit inside collect"), contents, moments),
)


class World:
    """A store, and what it must still hold: content → key of the build that names it."""

    def __init__(self) -> None:
        self.store, self.held, self.count = Store.memory(ManualClock()), {}, 0

    def commit(self, content: tuple[str, ...]) -> None:
        digest, self.count = _commit(self.store, content), self.count + 1
        key = f"k{self.count}"
        _record(self.store, key, digest)
        self.held[key] = (content, digest)

    def collect(self, dry_run: bool = False) -> None:
        collect_garbage(self.store, grace_s=GRACE_S, dry_run=dry_run)

    def forget(self, content: tuple[str, ...]) -> None:
        for key in [k for k, (held, _) in self.held.items() if held == content]:
            self.store.builds.invalidate(key, "no longer wanted")
            del self.held[key]

    def leave_behind(self, content: tuple[str, ...]) -> None:
        """Old bytes that nothing names: what a commit of the same content meets, and a collection takes."""
        self.commit(content)
        self.forget(content)
        _age(self.store, 10 * GRACE_S)

    def act(self, name: str, *details: Any) -> None:
        if name == "commit":
            self.commit(details[0])
        elif name == "collect":
            self.collect(details[0])
        elif name == "forget":
            self.forget(details[0])
        elif name == "collect inside first commit":
            with _interrupted(self.store, details[1], self.collect):
                self.commit(tuple(f"{text}{self.count}" for text in details[0]))
        elif name == "collect inside commit":
            self.leave_behind(details[0])
            with _interrupted(self.store, details[1], self.collect):
                self.commit(details[0])
        else:
            self.leave_behind(details[0])
            with _interrupted(self.store, details[1], lambda: self.commit(details[0])):
                self.collect()

    def check(self) -> None:
        for _, digest in self.held.values():
            self.store.artifacts.verify(digest)


@settings(max_examples=60)
@given(st.lists(actions, min_size=1, max_size=10))
def test_no_interleaving_loses_a_referenced_byte(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    try:
        for step in steps:
            world.act(*step)
            world.check()
            _age(world.store, 10 * GRACE_S)
        for content, _ in list(world.held.values()):
            world.forget(content)
        world.collect()
        assert not list((_root(world.store) / "blobs").rglob("*/*")), "what nothing names is collected in the end"
    finally:
        world.store.close()
