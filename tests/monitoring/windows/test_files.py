"""Windows on disk: written twice, cut off, rolled up, read while written, on a full disk, and no longer than they are kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import DiskFull
from penstock.monitoring.windows.codec import Frame, Span
from penstock.monitoring.windows.files import DAY_S, WindowFiles
from penstock.monitoring.windows.window import PLACE, Cell, Window, whole

T = 1_699_920_000.0  # midnight


def frame(start: float, requests: float = 1.0, length: float = 60.0, epoch: int = 0, version: str = "1") -> Frame:
    window = Window()
    window.numbers[PLACE["requests"]] = requests
    window.sketch("total_ms").add([requests] * int(requests))
    return Frame(Span(start, length, epoch), {Cell("live", version, "r"): window})


def counts(frames: list[Frame]) -> dict[float, float]:
    return {f.span.start - T: whole(f.cells)["requests"] for f in frames}


def test_a_span_that_is_written_twice_counts_once_as_it_was_written_last(tmp_path: Path) -> None:
    files = WindowFiles(tmp_path)
    files.append(frame(T, 5, version="1"))
    files.append(frame(T + 60, 7))
    files.append(frame(T, 6, version="2"))
    (first, second) = WindowFiles(tmp_path).read(T, T + 120)
    assert [cell.version for cell in first.cells] == ["2"]
    assert (whole(first.cells)["requests"], whole(second.cells)["requests"]) == (6, 7)


def test_a_span_that_came_twice_by_the_clock_adds_up(tmp_path: Path) -> None:
    files = WindowFiles(tmp_path)
    for epoch, requests in ((0, 5), (1, 2), (1, 3)):
        files.append(frame(T, requests, epoch=epoch))
    assert counts(files.read(T, T + 60)) == {0.0: 8}


@pytest.mark.parametrize("lost", [1, 10, 60])
def test_a_frame_that_a_crash_cut_off_is_passed_over_and_written_over(tmp_path: Path, lost: int) -> None:
    files = WindowFiles(tmp_path)
    files.append(frame(T))
    files.append(frame(T + 60, 2))
    (path,) = (tmp_path / "base").iterdir()
    os.truncate(path, path.stat().st_size - lost)
    assert counts(files.read(T, T + 300)) == {0.0: 1}
    again = WindowFiles(tmp_path)
    again.append(frame(T + 60, 3))
    again.append(frame(T + 120, 4))
    assert counts(files.read(T, T + 300)) == {0.0: 1, 60.0: 3, 120.0: 4}


@given(place=st.integers(0, 10_000), change=st.integers(1, 255))
@settings(max_examples=60)
def test_damage_costs_the_frame_that_it_hit(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    files = WindowFiles(folder)
    for number in range(5):
        files.append(frame(T + 60 * number, number + 1))
    (path,) = (folder / "base").iterdir()
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= change
    path.write_bytes(data)
    found = counts(files.read(T, T + 300))
    assert len(found) >= 4
    assert all(requests == start / 60 + 1 for start, requests in found.items())


def closed(files: WindowFiles, start: float, requests: float, length: float = 60.0) -> None:
    """As the measure does it."""
    files.append(frame(start, requests, length))
    files.roll_up(start, start + length, length)


def test_roll_ups_hold_what_the_windows_held_and_repeating_changes_nothing(tmp_path: Path) -> None:
    files = WindowFiles(tmp_path)
    for minute in range(125):
        closed(files, T + 60 * minute, minute % 7 + 1)
    files.roll_up(T + 3540, T + 3600, 60.0)
    for path in (tmp_path / "base").iterdir():
        path.unlink()
    tens = files.read(T, T + DAY_S)
    assert len(tens) == 12
    assert sum(counts(tens).values()) == sum(m % 7 + 1 for m in range(120))
    for path in (tmp_path / "10m").iterdir():
        path.unlink()
    hours = files.read(T, T + DAY_S)
    assert counts(hours) == {0.0: sum(m % 7 + 1 for m in range(60)), 3600.0: sum(m % 7 + 1 for m in range(60, 120))}
    assert hours[0].cells[Cell("live", "1", "r")].sketch("total_ms").count == counts(hours)[0.0]


@pytest.mark.parametrize("length", [7.0, 90.0, 600.0, 1800.0, 3600.0])
def test_windows_of_any_length_are_in_the_hours_in_which_they_began(tmp_path: Path, length: float) -> None:
    files = WindowFiles(tmp_path)
    starts = [T + length * n for n in range(int(3 * 3600 / length))]
    for start in starts:
        closed(files, start // length * length, 1, length)
    for name in ("base", "10m"):
        for path in (tmp_path / name).glob("*"):
            path.unlink()
    whole_hours = {hour: sum(hour <= (s // length * length) - T < hour + 3600 for s in starts) for hour in (0.0, 3600.0)}
    found = counts(files.read(T, T + 2 * 3600))
    assert {hour: found[hour] for hour in whole_hours} == whole_hours


def test_reading_far_back_takes_each_time_as_fine_as_it_is_kept_and_nothing_twice(tmp_path: Path) -> None:
    files = WindowFiles(tmp_path)
    before = T
    for day in range(40):
        for minute in range(0, 1440, 60):
            at = T + day * DAY_S + 60 * minute
            files.append(frame(at))
            files.roll_up(before, at + 60, 60.0)
            before = at + 60
        files.forget(T + (day + 1) * DAY_S)
    files.roll_up(before, T + 40 * DAY_S, 60.0)
    found = files.read(T, T + 40 * DAY_S)
    assert sum(counts(found).values()) == 40 * 24
    lengths = [f.span.length for f in found]
    assert lengths == sorted(lengths, reverse=True)
    assert set(lengths) == {60.0, 600.0} | ({3600.0} if 3600.0 in lengths else set())
    assert lengths.count(60.0) <= 3 * 24
    assert [f.span.start for f in found] == sorted(f.span.start for f in found)


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    files = WindowFiles(tmp_path)
    files.append(frame(T))
    files.append(frame(T + 3600))
    files.roll_up(T, T + 3660, 60.0)
    assert files.forget(T + 2 * DAY_S) == 0
    assert files.forget(T + 3 * DAY_S + 1) == 1
    assert counts(files.read(T, T + DAY_S)) == {0.0: 1}
    assert files.forget(T + 500 * DAY_S) == 2
    assert files.read(0, T + DAY_S) == []


def test_reading_while_another_writes(tmp_path: Path) -> None:
    files, done = WindowFiles(tmp_path), threading.Event()
    closed(files, T, 2)

    def write() -> None:
        for minute in range(1, 200):
            closed(files, T + 60 * minute, 2)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    reader, seen = WindowFiles(tmp_path), 0
    while not done.is_set():
        found = counts(reader.read(T, T + DAY_S))
        assert all(requests == 2 for requests in found.values())
        assert len(found) >= seen
        seen = len(found)
    thread.join()
    assert len(reader.read(T, T + DAY_S)) == 200


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = WindowFiles(tmp_path)
    files.append(frame(T))
    real = os.write

    def half(file: int, data: bytes) -> int:
        return real(file, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(DiskFull):
        files.append(frame(T + 60, 2))
    monkeypatch.undo()
    assert counts(files.read(T, T + 300)) == {0.0: 1}
    files.append(frame(T + 60, 3))
    assert counts(files.read(T, T + 300)) == {0.0: 1, 60.0: 3}


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    assert WindowFiles(tmp_path / "no").read(0, T) == []
    assert WindowFiles(tmp_path / "no").forget(T) == 0
