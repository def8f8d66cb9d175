"""A full disk and a read-only folder: told plainly, and nothing that was acknowledged is lost."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.core.errors import DiskFull, ReadOnly
from penstock.core.home import Home
from penstock.store.artifacts import Artifacts
from penstock.store.store import Store
from penstock.testing.store.artifacts import fill, read

Mount = Callable[[str], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a tmpfs with these options; skips where mounting is not allowed."""
    mounted: list[Path] = []

    def make(options: str) -> Path:
        folder = tmp_path / f"mount{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"mounting a tmpfs needs root and CAP_SYS_ADMIN: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_artifacts_on_a_full_disk(mount: Mount, tmp_path: Path) -> None:
    folder = mount("size=600k")
    artifacts = Artifacts((folder / "store").as_uri(), tmp_path / "cache")
    kept = artifacts.commit(fill(tmp_path / "small", a="one"), "model", {})
    big = fill(tmp_path / "big", first="1" * 200_000, second="2" * 900_000)
    with pytest.raises(DiskFull, match="no space left"):
        artifacts.commit(big, "model", {})
    assert not any((folder / "store" / "parts").iterdir()), "half a blob stays beside"
    again = Artifacts(artifacts.url, tmp_path / "cache2")
    assert read(again.materialize(kept.digest)) == {"a": "one"}
    _remount(folder, "size=4m")
    assert read(again.materialize(again.commit(big, "model", {}).digest)) == read(big)


def test_a_cache_on_a_full_disk(mount: Mount, tmp_path: Path) -> None:
    folder = mount("size=100k")
    manifest = Artifacts((tmp_path / "store").as_uri(), tmp_path / "cache").commit(fill(tmp_path / "big", a="1" * 900_000), "model", {})
    with pytest.raises(DiskFull, match="no space left"):
        Artifacts((tmp_path / "store").as_uri(), folder).materialize(manifest.digest)
    _remount(folder, "size=4m")
    assert len((Artifacts((tmp_path / "store").as_uri(), folder).materialize(manifest.digest) / "a").read_text()) == 900_000


def test_a_database_on_a_full_disk(mount: Mount) -> None:
    folder = mount("size=1m")
    store = Store.open(Home.find(folder, {}))
    made: list[str] = []

    def fill_up() -> None:
        for _ in range(1000):
            made.append(store.resources.create("run", "a", {"text": "x" * 20_000}).id)

    with pytest.raises(DiskFull, match=r"penstock\.db"):
        fill_up()
    assert made
    _remount(folder, "size=8m")
    assert {r.id for r in store.resources.list("run", limit=2000)} == set(made)
    store.resources.create("run", "b", {})
    store.close()


def test_a_read_only_place(mount: Mount, tmp_path: Path) -> None:
    folder = mount("size=4m")
    store = Store.open(Home.find(folder, {}))
    kept = store.artifacts.commit(fill(tmp_path / "small", a="one"), "model", {})
    store.resources.create("run", "a", {})
    store.close()
    _remount(folder, "ro")
    artifacts = Artifacts((folder / ".penstock" / "artifacts").as_uri(), tmp_path / "cache")
    assert read(artifacts.materialize(kept.digest)) == {"a": "one"}
    with pytest.raises(ReadOnly, match="cannot be written"):
        artifacts.commit(fill(tmp_path / "more", a="two"), "model", {})
    with pytest.raises(ReadOnly):
        artifacts.put_note("jobs/x.json", b"{}")
    with pytest.raises(ReadOnly):
        Store.open(Home.find(folder, {})).resources.create("run", "b", {})
    with pytest.raises(ReadOnly):
        Store.open(Home.find(folder / "elsewhere", {}))


def test_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the read-only mount above stands in")
    (tmp_path / "closed").mkdir(mode=0o555)
    with pytest.raises(ReadOnly):
        Store.open(Home.find(tmp_path / "closed", {}))
