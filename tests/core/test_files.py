"""A reader sees the old bytes or the new; refusals of the system are told plainly."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from penstock.core.errors import DiskFull, ReadOnly
from penstock.core.files import told_plainly, write_atomic


def test_written_and_replaced(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b"
    write_atomic(file, b"one")
    write_atomic(file, b"two")
    assert file.read_bytes() == b"two"
    assert [p.name for p in file.parent.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EDQUOT, DiskFull), (errno.EROFS, ReadOnly), (errno.EACCES, ReadOnly)]
)
def test_a_refusal_leaves_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]) -> None:
    file = tmp_path / "b"
    write_atomic(file, b"one")

    def refuse(*_: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(kind, match="b"):
        write_atomic(file, b"two")
    assert file.read_bytes() == b"one"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_really_full_disk() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(DiskFull), told_plainly(Path("/dev/full")), open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")


def test_other_errors_stay_themselves(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), told_plainly(tmp_path):
        tmp_path.read_bytes()
