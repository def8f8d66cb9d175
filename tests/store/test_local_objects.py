"""What only a local folder can promise: bytes shared by links, moved not copied, synced when they are dear; bytes read once a process."""

import os
from pathlib import Path

import pytest

from penstock.store import verified
from penstock.store.artifacts import Artifacts
from penstock.testing.store.artifacts import fill


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts((tmp_path / "store").as_uri(), tmp_path / "cache")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose bytes were hashed."""
    names: list[str] = []
    real = verified.digest_file

    def counted(path: Path) -> str:
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(verified, "digest_file", counted)
    return names


def _old(folder: Path) -> Path:
    for path in folder.iterdir():
        os.utime(path, (1.0, 1.0))
    return folder


def test_consumed_bytes_are_moved_and_materialised_bytes_are_shared(artifacts: Artifacts, tmp_path: Path) -> None:
    source = fill(tmp_path / "out", weights="w" * 1000)
    inode = (source / "weights").stat().st_ino
    folder = artifacts.materialize(artifacts.commit(source, "model", {}, consume=True).digest)
    assert (folder / "weights").stat().st_ino == inode
    assert not (source / "weights").exists()


def test_a_file_with_another_name_elsewhere_is_copied(artifacts: Artifacts, tmp_path: Path) -> None:
    source = fill(tmp_path / "out", weights="w")
    os.link(source / "weights", tmp_path / "mine")
    digest = artifacts.commit(source, "model", {}, consume=True).digest
    (tmp_path / "mine").write_text("x")
    assert (artifacts.materialize(digest) / "weights").read_text() == "w"


def test_bytes_are_read_once_by_a_process(artifacts: Artifacts, tmp_path: Path, reads: list[str]) -> None:
    digest = artifacts.commit(fill(tmp_path / "out", weights="w" * 1000), "model", {}).digest
    reads.clear()
    for _ in range(3):
        artifacts.materialize(digest)
    other = Artifacts(artifacts.url, tmp_path / "another cache")
    other.materialize(digest)
    assert reads == []


def test_changed_bytes_are_read_again_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    path = _old(fill(tmp_path / "out", a="one")) / "a"
    first = verified.digest_of(path)
    path.write_text("two")
    os.utime(path, (1.0, 1.0))
    assert verified.digest_of(path) != first


def test_a_file_written_this_instant_is_not_trusted_to_stay(tmp_path: Path, reads: list[str]) -> None:
    path = fill(tmp_path / "out", a="one") / "a"
    verified.digest_of(path)
    verified.digest_of(path)
    assert reads == ["a", "a"]


def test_large_blobs_are_synced_before_they_are_named(artifacts: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_size), real(handle))[1])
    artifacts.commit(fill(tmp_path / "out", small="s", weights="w" * (1 << 20)), "model", {})
    assert synced == [1 << 20]


def test_leftovers_of_a_crash_are_swept(artifacts: Artifacts, tmp_path: Path) -> None:
    artifacts.commit(fill(tmp_path / "out", a="one"), "model", {})
    for place in (tmp_path / "store" / "parts", tmp_path / "cache" / "parts"):
        _old(fill(place, half="h"))
    artifacts.collect(set(), grace_s=3600.0)
    assert not list(tmp_path.glob("*/parts/*"))
