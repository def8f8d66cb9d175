"""What a platform captured becomes records once, whenever the process that reads it is killed; what cannot be read is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from penstock.control import captures
from penstock.control.captures import Bringing
from penstock.control.erasure import mark
from penstock.control.watch.watcher import Watcher
from penstock.control.world import World
from penstock.core.errors import PenstockError, PlatformDenied
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.platforms.captures import Held, Passed
from penstock.serving.direct import Direct
from penstock.serving.record_files import compact, read_records
from penstock.store.resources import Resource
from penstock.store.store import Store
from penstock.testing.control import Bench, Crash
from penstock.testing.watched import Notes, by_name, deployment, record, registered

NOW = 1_790_000_000.0


class Kept:
    """Captures in memory. `fuse`: after so many more calls it crashes, as a process does that is killed."""

    def __init__(self, keep: bool = False) -> None:
        self.keep, self.objects, self.fuse = keep, dict[str, list[Direct | Passed]](), -1
        self.deployments = set[str]()

    def put(self, name: str, *lines: Direct | Passed) -> None:
        self.objects[name] = [*self.objects.get(name, ()), *lines]

    def held(self, deployment: str, since: str) -> Iterator[Held]:
        self.deployments.add(deployment)
        self.burn()
        yield from [Held(name, len(lines)) for name, lines in sorted(self.objects.items()) if name >= since]

    def read(self, held: Held, skip: int) -> Iterator[Direct | Passed]:
        for line in self.objects.get(held.name, ())[skip:]:
            self.burn()
            yield line

    def remove(self, held: Held) -> None:
        self.burn()
        self.objects.pop(held.name, None)
        self.burn()

    def served(self, version: str, bundle: str) -> str:
        return f"v{version}-{bundle[-1]}"

    def burn(self) -> None:
        self.fuse -= 1
        if self.fuse == 0:
            raise Crash


def direct(number: int, **more: Any) -> Direct:
    asked = {"model": "intents", "input": f"write to anna{number}@example.org", "user": f"u{number}", "metadata": {"channel": "web"}}
    answer = {"id": f"req-{number}", "data": [{"label": "ask", "score": 0.75}], "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    return Direct(f"event-{number}", NOW - number, "v1-a", orjson.dumps({**asked, **more}), orjson.dumps(answer))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Store, Home, Resource]]:
    home = Home.find(tmp_path, {})
    store = Store.open(home)
    deploy = {"monitor": {"capture": {}, "metadata": ["channel"]}, "price": {"prompt": 10.0}}
    spec = {
        "model": "intents",
        "task": "text-classification",
        "platform": {"name": "aws", "config": {"kind": "sagemaker", "capture": {"percent": 100}}},
        "versions": [{"version": 1, "bundle": "sha256:a", "weight": 1.0}],
        "deploy": deploy,
    }
    yield store, home, store.resources.create("deployment", "intents", spec)
    store.close()


def bring(place: tuple[Store, Home, Resource], kept: Kept, now: float = NOW) -> int:
    return Bringing(*place, kept).bring(now)


def ids(place: tuple[Store, Home, Resource]) -> list[str]:
    return sorted(record["id"] for record in read_records(place[1].gateway / "records"))


def test_a_request_is_a_record_like_those_of_the_gateway(place: tuple[Store, Home, Resource]) -> None:
    kept = Kept()
    kept.put("2026/09/21/10/a", direct(1), Passed(), direct(2))
    assert bring(place, kept) == 2
    (record,) = [one for one in read_records(place[1].gateway / "records") if one["id"] == "req-1"]
    told = {"version": "1", "route": "/v1/classify", "label": "ask", "confidence": 0.75, "prompt_tokens": 7, "metadata": {"channel": "web"}}
    assert {name: record[name] for name in told} == told
    assert record["cost_usd"] == pytest.approx(7e-5)
    assert "anna1@" not in record["text_in"], "personal data is masked before it is on the disk"
    assert record["text_in"].startswith("write to ")
    assert (record["attempts"], record["total_ms"], record["replica"], record["key"]) == (0, 0.0, None, None)
    assert not kept.objects, "what was read is taken away"
    assert kept.deployments == {"intents"}
    assert bring(place, kept) == 0


def test_killed_anywhere_it_neither_loses_nor_doubles(place: tuple[Store, Home, Resource], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after every call: of the platform, of the cursor, of a segment. Between two runs a segment may become Parquet."""
    monkeypatch.setattr(captures, "ROWS", 2)
    kept, real = Kept(), write_atomic
    place = (*place[:2], place[0].resources.set_spec("deployment", place[2].id, {**place[2].spec, "deploy": {}}))  # masking takes time

    def write(path: Path, data: bytes, mode: int = 0o644) -> None:
        kept.burn()
        real(path, data, sync=False, mode=mode)
        kept.burn()

    monkeypatch.setattr(captures, "_sync", lambda _: None)
    monkeypatch.setattr(captures, "write_atomic", write)
    number, wanted, crashes, fuse = 0, [], 0, 1
    while True:
        for name, count in (("2026/09/21/10/a", 3), ("2026/09/21/11/b", 1)):
            kept.put(f"{name}{fuse:03d}", *(direct(number + one) for one in range(count)))
            wanted += [f"req-{number + one}" for one in range(count)]
            number += count
        kept.fuse = fuse
        try:
            bring(place, kept)
            break
        except Crash:
            crashes += 1
        finally:
            kept.fuse = -1
        if fuse % 7 == 0:
            compact(place[1].gateway / "records", now=4e9)
        bring(place, kept)
        assert ids(place) == sorted(wanted), f"killed at call {fuse}"
        fuse += 1
    assert ids(place) == sorted(wanted)
    assert crashes > 20
    assert not kept.objects


def test_objects_that_are_kept_are_read_once_and_on_where_they_grew(place: tuple[Store, Home, Resource]) -> None:
    kept = Kept(keep=True)
    kept.put("2026/09/21/10/a", direct(1))
    assert [bring(place, kept), bring(place, kept)] == [1, 0]
    kept.put("2026/09/21/10/a", direct(2))
    kept.put("2026/09/21/10/b", direct(3))
    assert [bring(place, kept), bring(place, kept)] == [2, 0]
    later = NOW + 3 * 86400
    assert bring(place, kept, later) == 0
    kept.put("2026/09/24/13/c", direct(4))
    assert bring(place, kept, later) == 1
    assert ids(place) == ["req-1", "req-2", "req-3", "req-4"]
    assert sorted(kept.objects) == ["2026/09/21/10/a", "2026/09/21/10/b", "2026/09/24/13/c"]
    (cursor,) = (place[1].folder / "outside").glob("captures-*.json")
    assert "2026/09/21" not in str(orjson.loads(cursor.read_bytes())["done"]), "what is not looked for any more is forgotten"


def test_damaged_lines_are_told_and_left_out(place: tuple[Store, Home, Resource], caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept()
    kept.put("2026/09/21/10/a", direct(1), Passed("it is no captured request"), direct(2))
    with caplog.at_level(logging.WARNING):
        assert bring(place, kept) == 2
    assert "2026/09/21/10/a: line 2 is left out: it is no captured request" in caplog.text
    (event,) = [one for one in place[0].events.list("deployment", place[2].id) if one.type == "deployment.captures"]
    assert event.data == {"damaged": 1}


def test_no_text_is_kept_where_the_file_keeps_none_or_the_subject_was_erased(place: tuple[Store, Home, Resource]) -> None:
    store, home, row = place
    mark(World(store, home, "me"), "req-1", principal="anna")
    kept = Kept()
    kept.put("2026/09/21/10/a", direct(1), direct(2))
    bring(place, kept)
    texts = {one["id"]: one["text_in"] is not None for one in read_records(home.gateway / "records")}
    assert texts == {"req-1": False, "req-2": True}
    silent = store.resources.set_spec("deployment", row.id, {**row.spec, "deploy": {}})
    kept.put("2026/09/21/10/b", direct(3))
    bring((store, home, silent), kept)
    (third,) = [one for one in read_records(home.gateway / "records") if one["id"] == "req-3"]
    assert (third["text_in"], third["text_out"], third["metadata"]) == (None, None, None)


def test_what_cannot_be_taken_away_is_not_read_again(place: tuple[Store, Home, Resource], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    kept.put("2026/09/21/10/a", direct(1))

    def denied(held: Held) -> None:
        raise PlatformDenied(f"s3:DeleteObject {held.name}")

    monkeypatch.setattr(kept, "remove", denied)
    for _ in range(2):
        with pytest.raises(PlatformDenied):
            bring(place, kept)
    assert ids(place) == ["req-1"]


def test_a_cursor_that_does_not_read_stops_it(place: tuple[Store, Home, Resource]) -> None:
    bring(place, Kept(keep=True), NOW)
    kept = Kept()
    kept.put("2026/09/21/10/a", direct(1))
    bring(place, kept)
    (cursor,) = (place[1].folder / "outside").glob("captures-*.json")
    cursor.write_bytes(b"{")
    kept.put("2026/09/21/10/a", direct(2))
    with pytest.raises(PenstockError, match="does not say how far was read"):
        bring(place, kept)
    cursor.unlink()
    assert bring(place, kept) == 1
    assert ids(place) == ["req-1", "req-2"], "a segment that is there is never written over"


def test_a_deployment_that_comes_again_goes_on_where_the_last_one_was(place: tuple[Store, Home, Resource]) -> None:
    store, home, row = place
    kept = Kept(keep=True)
    kept.put("2026/09/21/10/a", direct(1))
    assert bring(place, kept) == 1
    assert store.resources.take("deployment", row.id, "me", 60.0)
    store.resources.save("deployment", row.id, "me", status={}, phase="deleted", due_at=None)
    gone = store.resources.get("deployment", row.id)
    assert [one.id for one in captures.wanting(store, gone.updated_at + 60)] == [row.id], "its last requests may still come"
    assert captures.wanting(store, gone.updated_at + 3700) == []
    again = store.resources.create("deployment", "intents", row.spec)
    assert [one.id for one in captures.wanting(store, gone.updated_at + 60)] == [again.id]
    assert bring((store, home, again), kept) == 0
    assert ids(place) == ["req-1"]


def test_windows_and_alerts_count_them_though_they_come_late(tmp_path: Path) -> None:
    """What was captured reaches the disk minutes after its window was closed: it counts in the one that is open, and is no fast answer."""
    bench = Bench(tmp_path)
    registered(bench.store)
    row, began = deployment(bench.store, window=60.0), 1_700_000_040.0
    Notes(bench.home.gateway, 5).records([record(number, began + 10 + number, total_ms=80.0) for number in range(4)])
    bench.clock.jump(began + 100 - bench.clock.now())
    watcher = Watcher(bench.home, bench.store, bench.clock)
    while watcher.turn():
        pass
    kept = Kept()
    late = [replace(direct(number), at=began + 20, served="v1-1") for number in range(6)]
    kept.put("2023/11/14/22/a", *late)
    assert Bringing(bench.store, bench.home, row, kept).bring(bench.clock.now()) == 6
    bench.clock.sleep(60.0)
    while watcher.turn():
        pass
    told = by_name(bench.store.signals.read("m"), began + 120)
    assert told["requests"].value == 6
    assert by_name(bench.store.signals.read("m"), began + 120, version="1")["requests"].value == 6
    assert "latency.p95_ms" not in told
    assert by_name(bench.store.signals.read("m"), began + 60)["latency.p95_ms"].value == pytest.approx(80, rel=0.05)
    bench.close()
