"""One store used by many threads, as the control process and the warm pool do."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.core.errors import Conflict
from penstock.core.home import Home
from penstock.store.points import Point
from penstock.store.store import Store


@pytest.fixture(params=["memory", "file", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        store = Store.memory()
    else:
        given = {"PENSTOCK_DATABASE": request.getfixturevalue("postgres_url")} if request.param == "postgres" else {}
        store = Store.open(Home.find(tmp_path, given))
    yield store
    store.close()


def _together(count: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_transactions_of_threads_do_not_mix(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            try:
                with store.database.begin():
                    store.resources.create("run", "x", {}, id=f"{number}-{turn}")
                    store.audit.append(f"thread {number}", "create", f"{number}-{turn}", {})
                    store.points.append([Point(f"{number}", "s", "n", turn, 1.0, 0.0)])
                    if turn % 2:
                        raise Conflict("taken back")
            except Conflict:
                assert turn % 2
            assert len(store.points.read(f"{number}")) == turn // 2 + 1

    _together(6, work)
    assert {r.id for r in store.resources.list("run")} == {f"{n}-{t}" for n in range(6) for t in range(0, 10, 2)}
    assert store.audit.verify() == 30


def test_versions_are_numbered_without_gaps(store: Store) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            store.registry.register("m", f"{number}-{turn % 3}", run="r", task="t", metrics={}, gates=[], facts={})

    _together(5, work)
    assert [v.version for v in store.registry.versions("m")] == list(range(15, 0, -1))


def test_a_row_goes_to_one_thread_at_a_time(store: Store) -> None:
    for _ in range(8):
        store.resources.create("job", "x", {})
    busy: set[str] = set()

    def work(number: int) -> None:
        while (row := store.resources.lease(["job"], f"owner-{number}", 60.0)) is not None:
            assert row.id not in busy
            busy.add(row.id)
            turns = row.status.get("turns", 0) + 1
            busy.remove(row.id)
            store.resources.save("job", row.id, f"owner-{number}", status={"turns": turns}, phase="x", due_at=None if turns == 4 else 0.0)
            store.resources.release("job", row.id, f"owner-{number}")

    _together(4, work)
    assert [r.status for r in store.resources.list("job")] == [{"turns": 4}] * 8
