"""The conformance suite of batches by a vendor's own service: `class TestBatchesThere(VendorBatchConformance)`.

What holds everywhere: the file of answers is, to the byte, that of a replica of ours; whatever goes wrong on the way, no row is asked for
nothing, and nothing is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.control import elsewhere
from penstock.control.batch import BatchOptions, batch, quote
from penstock.control.leaving import leave_platforms
from penstock.control.world import open_world
from penstock.core.errors import Interrupted, PlatformFull
from penstock.core.home import Home
from penstock.platforms.table import PLATFORMS

CLASSIFIER = "penstock.testing.echo:EchoClassifier"
SHARD = 16
OURS = BatchOptions(engine_class=CLASSIFIER, rows_per_part=SHARD, rows_per_request=4, max_payload_bytes=2000)
THEIRS = replace(OURS, vendor=True)
FAILED = (5, 11, 17, 23, 40)  # of the first test


class Killed(BaseException):
    """What no code of ours catches: as if the process ended here."""


class VendorBatchConformance:
    """Of a platform: `creates`, `looks`: operations as the emulator's faults name them, by which a batch is made and seen."""

    creates: tuple[str, ...]
    looks: str

    def place(self, **replica: Any) -> tuple[str, dict[str, Any]]:
        """(URL for artifacts, the platform's section whose containers get `replica` as further fields of their spec)."""
        raise NotImplementedError

    def state(self) -> Any:
        """What the emulator keeps: faults, quotas."""
        raise NotImplementedError

    def made(self) -> Sequence[str]:
        """Names of all batches that the vendor was asked for."""
        raise NotImplementedError

    def asked(self) -> int | None:
        """Rows that containers were asked, those that were asked twice counted twice; None where the service does not see them."""
        raise NotImplementedError

    def exhaust(self) -> None:
        """The quota of such machines is used up."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = tmp_path, monkeypatch
        monkeypatch.setattr(elsewhere, "LONGEST_POLL_S", 0.2)
        monkeypatch.delenv("PENSTOCK_DATABASE", raising=False)

    def home(self, name: str, section: dict[str, Any] | None, artifacts: str) -> None:
        """From now on a home of its own, with version 1 of `m`."""
        self.patch.setenv("PENSTOCK_HOME", str(self.folder / name))
        self.patch.setenv("PENSTOCK_ARTIFACTS", artifacts)
        note = self.folder / "bundle" / "note.txt"
        note.parent.mkdir(exist_ok=True)
        note.write_text("an engine without weights")
        world = open_world(Home.find())
        bundle = world.store.artifacts.commit(note.parent, "bundle", {}).digest
        run = world.store.resources.create("run", "m", {"platforms": {"there": section} if section else {}})
        world.store.registry.register("m", bundle, run=run.id, task="text-classification", metrics={}, gates=[], facts={})
        world.store.registry.register("w", bundle, run=run.id, task="text-generation", metrics={}, gates=[], facts={})
        world.store.close()

    def there(self, engine: str = CLASSIFIER) -> None:
        """A home on the vendor's platform."""
        artifacts, self.section = self.place(engine_class=engine)
        self.home("there", self.section, artifacts)

    def source(self, rows: int, texts: dict[int, Any] | None = None) -> Path:
        path = self.folder / "in.jsonl"
        path.write_text("".join(json.dumps({"id": n, "text": (texts or {}).get(n, f"text {n}")}) + "\n" for n in range(rows)))
        return path

    def expected(self, source: Path, options: BatchOptions = OURS, model: str = "m") -> tuple[bytes, str]:
        """What a replica of ours on this machine writes: the bytes, and the digest of the artifact."""
        self.home("ours", None, str(self.folder / "artifacts"))
        output = self.folder / "ours.jsonl"
        result = batch(model, source, output, options=options)
        return output.read_bytes(), result.artifact

    def left(self) -> list[str]:
        """Of the platform, and of the store."""
        world = open_world(Home.find())
        try:
            artifacts = world.store.artifacts
            found = PLATFORMS.load(self.section["kind"]).left(world.home, artifacts, self.section)
            return [*found, *artifacts.notes("batches")]
        finally:
            world.store.close()

    def test_the_answers_are_those_of_our_own_replica_to_the_byte(self) -> None:
        source = self.source(60, {5: "\0", 11: None, 17: "boom", 23: "x" * 3000})
        lines = source.read_bytes().splitlines(keepends=True)
        source.write_bytes(b"".join([*lines[:40], b"{broken\n", *lines[41:]]))
        bytes_, artifact = self.expected(source)
        failures = (self.folder / "ours.jsonl.failures.jsonl").read_bytes()
        self.there()
        seen: list[float] = []
        output = self.folder / "theirs.jsonl"
        result = batch("m", source, output, options=replace(THEIRS, instances=2), on="there", seen=lambda p: seen.append(p["done"]))
        assert output.read_bytes() == bytes_
        assert (self.folder / "theirs.jsonl.failures.jsonl").read_bytes() == failures
        assert [json.loads(line)["row"] for line in failures.splitlines()] == list(FAILED)
        assert (result.rows, result.failures, result.artifact) == (60, len(FAILED), artifact)
        assert seen[-1] == 60
        assert len(self.made()) == 1
        assert self.asked() in (60 - 3, None), "a row that cannot be asked is not, every other one once"
        assert self.left() == []
        assert batch("m", source, self.folder / "again.jsonl", options=OURS).artifact == artifact
        assert (self.folder / "again.jsonl").read_bytes() == bytes_, "the same batch our way: it is answered already"

    def test_lost_answers_and_a_killed_command_make_no_second_batch(self) -> None:
        source = self.source(2 * SHARD)
        self.there()
        faults = self.state().faults
        for operation in self.creates:
            faults.plan("lose_answer", operation)
        faults.plan("throttle", self.looks)
        faults.plan("internal", self.looks)
        met = faults.met
        with Raising(Killed, after=1), pytest.raises(Killed):
            batch("m", source, self.folder / "out.jsonl", options=THEIRS, on="there")
        assert faults.met - met == len(self.creates) + 2
        assert len(self.made()) == 1
        assert any("batch" in name for name in leave_platforms(Home.find())["left"]), "`penstock down` tells what runs"
        assert batch("m", source, self.folder / "out.jsonl", options=THEIRS, on="there").rows == 2 * SHARD
        assert len(self.made()) == 1
        assert self.asked() in (2 * SHARD, None)
        assert self.left() == []

    def test_ctrl_c_ends_it_there_and_the_same_command_goes_on(self) -> None:
        source = self.source(SHARD)
        self.there()
        with Raising(KeyboardInterrupt, after=1), pytest.raises(Interrupted, match="goes on"):
            batch("m", source, self.folder / "out.jsonl", options=THEIRS, on="there")
        assert self.left() == []
        assert batch("m", source, self.folder / "out.jsonl", options=THEIRS, on="there").failures == 0
        assert len(set(self.made())) == 2, "a name is used once"
        assert self.left() == []

    def test_no_room_is_told_and_nothing_stays(self) -> None:
        source = self.source(4)
        self.there()
        self.exhaust()
        with pytest.raises(PlatformFull):
            batch("m", source, self.folder / "out.jsonl", options=THEIRS, on="there")
        assert self.left() == []

    def test_the_price_is_told_before(self) -> None:
        self.there()
        told = quote("m", "there", replace(THEIRS, instances=3))
        assert told is not None
        assert told.nodes == 3
        assert told.machine
        assert told.calls
        assert quote("m", "there", OURS) is None
        assert self.made() == []


class Raising:
    """While a batch is waited for, for the time after `after`, `error` comes: the batch is there then, and not done."""

    def __init__(self, error: type[BaseException], after: int) -> None:
        self._error, self._left = error, after
        self._sleep: Callable[[float], None] = elsewhere.pause

    def __enter__(self) -> None:
        elsewhere.pause = self._wait

    def __exit__(self, *_: object) -> None:
        elsewhere.pause = self._sleep

    def _wait(self, seconds: float) -> None:
        self._left -= 1
        if self._left == 0:
            raise self._error
        self._sleep(seconds)
