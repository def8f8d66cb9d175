"""What the tests share is made once, whole, by whoever asks first."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from penstock.testing.once import once


def test_many_ask_and_one_makes(tmp_path_factory: pytest.TempPathFactory) -> None:
    made, found = [], []
    tmp_path_factory.getbasetemp()  # which threads may not make

    def make(place: Path) -> Path:
        made.append(place)
        time.sleep(0.1)
        (place / "inner").mkdir()
        (place / "inner" / "file").write_text("whole")
        return place / "inner"

    def ask() -> None:
        found.append((once(tmp_path_factory, "asked-by-many", make) / "file").read_text())

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert found == ["whole"] * 4


def test_what_failed_half_way_is_made_anew(tmp_path_factory: pytest.TempPathFactory) -> None:
    def fails(place: Path) -> Path:
        (place / "half").write_text("")
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        once(tmp_path_factory, "failed", fails)
    assert list(once(tmp_path_factory, "failed", lambda place: place).iterdir()) == []
