"""What the watcher remembers: the old whole or the new whole, whatever happens between; damage is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.control.watch import saved as module
from penstock.control.watch.saved import Kept, Saved
from penstock.core.errors import DiskFull
from penstock.testing.control import Crash

KEPT = {"m": Kept("id-1", {"kpis": b"\x00state", "drift": b""}), "n": Kept("id-2", {})}


def test_written_and_read(tmp_path: Path) -> None:
    assert Saved.read(tmp_path).position == {}
    first = Saved.read(tmp_path)
    first.write({"until": 5.0}, KEPT)
    found = Saved.read(tmp_path)
    assert (found.position, found.deployments, found.problems) == ({"until": 5.0}, KEPT, [])
    found.write({"until": 6.0}, {**KEPT, "m": Kept("id-1", {"kpis": b"new"})})
    assert Saved.read(tmp_path).deployments["m"].states == {"kpis": b"new"}


def test_what_did_not_change_is_not_written_again_and_old_states_go(tmp_path: Path) -> None:
    saved = Saved.read(tmp_path)
    saved.write({}, KEPT)
    before = (tmp_path / "n" / "state-1").stat().st_mtime_ns
    for number in range(3):
        saved.write({"n": number}, {**KEPT, "m": Kept("id-1", {"kpis": bytes([number])})})
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["state-4"]
    assert (tmp_path / "n" / "state-1").stat().st_mtime_ns == before
    saved.write({}, {"n": KEPT["n"]})
    assert list((tmp_path / "m").iterdir()) == []


@given(st.data())
@settings(max_examples=80)
def test_damage_is_told_and_never_believed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("s")
    Saved.read(folder).write({"until": 5.0}, KEPT)
    path = data.draw(st.sampled_from([folder / "watch.state", folder / "m" / "state-1"]))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    broken = bytearray(whole)
    broken[cut] ^= data.draw(st.integers(1, 255))
    path.write_bytes(data.draw(st.sampled_from([bytes(broken), whole[:cut], whole + b"x", b""])))
    found = Saved.read(folder)
    assert len(found.problems) == 1
    assert found.position == ({} if path.name == "watch.state" else {"until": 5.0})
    assert set(found.deployments) == (set() if path.name == "watch.state" else {"n"})
    found.write({"until": 6.0}, KEPT)
    assert Saved.read(folder).deployments == KEPT


def test_a_state_that_is_gone_is_told(tmp_path: Path) -> None:
    Saved.read(tmp_path).write({}, KEPT)
    (tmp_path / "m" / "state-1").unlink()
    assert [problem.split(" ")[0] for problem in Saved.read(tmp_path).problems] == [str(tmp_path / "m" / "state-1")]


@pytest.mark.parametrize("crash_at", range(1, 7))
def test_killed_anywhere_it_is_the_old_whole_or_the_new_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_at: int) -> None:
    saved = Saved.read(tmp_path)
    saved.write({"until": 1}, KEPT)
    left, real = [crash_at], module.write_atomic

    def counted(path: Path, data: bytes) -> None:
        for step in (lambda: None, lambda: real(path, data)):
            step()
            left[0] -= 1
            if not left[0]:
                raise Crash

    monkeypatch.setattr(module, "write_atomic", counted)
    new = {"m": Kept("id-1", {"kpis": b"2"}), "n": Kept("id-2", {"kpis": b"2"})}
    try:
        saved.write({"until": 2}, new)
    except Crash:
        assert crash_at <= 6
    monkeypatch.undo()
    found = Saved.read(tmp_path)
    assert found.problems == []
    assert (found.position, found.deployments) in [({"until": 1}, KEPT), ({"until": 2}, new)]
    assert found.position["until"] == (2 if crash_at == 6 else 1)
    found.write({"until": 3}, new)
    assert len(list(tmp_path.glob("*/state-*"))) == 2


def test_a_full_disk_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = Saved.read(tmp_path)
    saved.write({"until": 1}, KEPT)

    def full(path: Path, data: bytes) -> None:
        raise DiskFull(str(path) + str(len(data)))

    monkeypatch.setattr(module, "write_atomic", full)
    with pytest.raises(DiskFull):
        saved.write({"until": 2}, {"m": Kept("id-1", {"kpis": b"2"})})
    monkeypatch.undo()
    assert Saved.read(tmp_path).position == {"until": 1}
    saved.write({"until": 3}, {"m": Kept("id-1", {"kpis": b"3"})})
    assert Saved.read(tmp_path).deployments == {"m": Kept("id-1", {"kpis": b"3"})}
