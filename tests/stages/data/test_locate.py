"""Sources by path, URL and entry: found, checked, remembered; refused with both digests when they differ."""

from __future__ import annotations

import csv
import http.server
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from penstock.core.digests import digest_bytes, digest_file
from penstock.core.errors import ArtifactCorrupt, BadInput, SourceUnreadable
from penstock.spec.pipeline import Source
from penstock.stages.data import catalog, locate, remembered, remote


@pytest.fixture
def served(tmp_path: Path):
    """A folder behind HTTP on loopback; yields (folder, url, requests so far)."""
    folder = tmp_path / "served"
    folder.mkdir()
    asked: Counter[str] = Counter()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *_) -> None:
            asked[self.command] += 1

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_path_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.csv").write_text("text\nx\n")
    found = locate.locate(Source(uri="data/rows.csv"), tmp_path, tmp_path / "cache")
    assert found.path == tmp_path / "data/rows.csv"
    assert found.digest == digest_file(found.path)
    assert locate.locate(Source(uri=found.path.as_uri()), tmp_path, tmp_path / "cache").digest == found.digest


def test_what_cannot_be_a_source(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"nothing\.csv does not exist"):
        locate.locate(Source(uri="nothing.csv"), tmp_path, tmp_path / "cache")
    with pytest.raises(SourceUnreadable, match="is a folder"):
        locate.locate(Source(uri="."), tmp_path, tmp_path / "cache")
    with pytest.raises(BadInput, match=r"no dataset entry is called 'banking77/tran'; did you mean 'banking77/train'\?"):
        locate.locate(Source(dataset="banking77/tran"), tmp_path, tmp_path / "cache")


def test_digests_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = tmp_path / "rows.csv", tmp_path / "cache"
    path.write_text("one")
    read = []
    monkeypatch.setattr(remembered, "digest_file", lambda p: read.append(p) or digest_file(p))
    assert remembered.digest_of(path, cache) == remembered.digest_of(path, cache) == digest_bytes(b"one")
    assert len(read) == 1
    path.write_text("two")
    assert remembered.digest_of(path, cache) == digest_bytes(b"two")
    for note in (cache / "digests").iterdir():
        note.write_text("damaged")
    assert remembered.digest_of(path, cache) == digest_bytes(b"two")
    assert len(read) == 3


def test_a_file_that_changes_while_it_is_hashed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("one")
    changes = iter(["longer than one"])

    def hashed(p: Path) -> str:
        digest = digest_file(p)
        if (text := next(changes, None)) is not None:
            p.write_text(text)
        return digest

    monkeypatch.setattr(remembered, "digest_file", hashed)
    assert remembered.digest_of(path, tmp_path / "cache") == digest_bytes(b"longer than one")
    monkeypatch.setattr(remembered, "digest_file", lambda p: p.write_text(p.read_text() + "x") and "sha256:")
    with pytest.raises(SourceUnreadable, match="keeps changing"):
        remembered.digest_of(path, tmp_path / "other")


def test_planning_loads_no_table_library() -> None:
    code = (
        "import sys, penstock.stages.data.locate; print([m for m in ('polars', 'pyarrow', 'numpy', 'fsspec', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_url_is_copied_once_per_version(tmp_path: Path, served) -> None:
    folder, url, asked = served
    (folder / "rows.csv").write_text("text\none\n")
    first = locate.locate(Source(uri=f"{url}/rows.csv"), tmp_path, tmp_path / "cache")
    again = locate.locate(Source(uri=f"{url}/rows.csv"), tmp_path, tmp_path / "cache")
    assert first == again
    assert first.path.name == "rows.csv"
    assert asked["GET"] == 1
    (folder / "rows.csv").write_text("text\ntwo and more\n")
    assert locate.locate(Source(uri=f"{url}/rows.csv"), tmp_path, tmp_path / "cache").digest == digest_bytes(b"text\ntwo and more\n")
    with pytest.raises(SourceUnreadable, match="cannot be reached"):
        locate.locate(Source(uri=f"{url}/absent.csv"), tmp_path, tmp_path / "cache")


def test_other_addresses_go_through_fsspec(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://bucket/rows.csv", "wb") as file:
        file.write(b"text\nx\n")
    found = locate.locate(Source(uri="memory://bucket/rows.csv"), tmp_path, tmp_path / "cache")
    assert found.digest == digest_bytes(b"text\nx\n")
    with pytest.raises(SourceUnreadable, match="cannot be reached"):
        remote.fetch("nosuch://bucket/rows.csv", tmp_path / "cache")


def entry(url: str = "", data: bytes = b"rows") -> catalog.Entry:
    return catalog.Entry("test/entry", "test/rows.csv", digest_bytes(data), (url,) if url else (), "none")


def test_the_mirror_comes_first_and_is_checked(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test/rows.csv").write_bytes(b"rows")
    assert catalog.resolve(entry(), tmp_path, tmp_path / "cache").path == tmp_path / "test/rows.csv"
    (tmp_path / "test/rows.csv").write_bytes(b"other")
    with pytest.raises(ArtifactCorrupt, match=rf"{digest_bytes(b'other')}, but the entry is {digest_bytes(b'rows')}"):
        catalog.resolve(entry(), tmp_path, tmp_path / "cache")


def test_then_the_public_url_checked_and_cached(tmp_path: Path, served) -> None:
    folder, url, asked = served
    (folder / "rows.csv").write_bytes(b"rows")
    for _ in range(2):
        found = catalog.resolve(entry(f"{url}/rows.csv"), None, tmp_path / "cache")
        assert (found.path.name, found.path.read_bytes()) == ("rows.csv", b"rows")
    assert asked["GET"] == 1
    (folder / "rows.csv").write_bytes(b"other")
    with pytest.raises(ArtifactCorrupt, match=r"rows\.csv has sha256:"):
        catalog.resolve(entry(f"{url}/rows.csv"), None, tmp_path / "elsewhere")
    assert not list((tmp_path / "elsewhere").rglob("*.csv"))


def test_then_the_docstrings(tmp_path: Path) -> None:
    gone = entry("http://127.0.0.1:9/rows.csv")
    with pytest.raises(SourceUnreadable, match="not to be had"):
        catalog.resolve(gone, None, tmp_path)
    instead, found = catalog.resolve_with_fallback(gone, None, tmp_path)
    assert instead.name == "python-docstrings/text"
    assert len(found.path.read_text()) > 200_000


def test_docstrings_by_module_are_the_same_every_time(tmp_path: Path) -> None:
    one = catalog.resolve(catalog.entry_named("python-docstrings"), None, tmp_path / "one")
    two = catalog.resolve(catalog.entry_named("python-docstrings"), None, tmp_path / "two")
    assert one.digest == two.digest
    with one.path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    counts = Counter(row["module"] for row in rows)
    assert len(counts) >= 18
    assert min(counts.values()) >= 40
    assert len({row["text"] for row in rows}) == len(rows)


def test_available_asks_mirror_then_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served) -> None:
    folder, url, _ = served
    monkeypatch.setenv("PENSTOCK_MIRROR", str(tmp_path / "absent"))
    assert catalog.find_mirror() is None
    monkeypatch.setitem(catalog.ENTRIES, "test/entry", entry(f"{url}/rows.csv"))
    assert not catalog.available("test/entry")
    (folder / "rows.csv").write_bytes(b"rows")
    assert catalog.available("test/entry")
    assert catalog.available("test/entry", cache=tmp_path / "cache")
    assert catalog.available("python-docstrings")


def test_entries_match_the_mirror(mirror: Path, tmp_path: Path) -> None:
    for name in ("banking77/train", "banking77/test", "tinyshakespeare"):
        assert catalog.resolve(catalog.entry_named(name), mirror, tmp_path).path.is_relative_to(mirror)


def test_the_mirror_lies_beside_the_working_folder_or_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_MIRROR", raising=False)
    deep = tmp_path / "repository" / "examples" / "one"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert catalog.find_mirror() is None
    (tmp_path / "shared" / "data").mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    assert catalog.find_mirror() == tmp_path / "shared" / "data"
    monkeypatch.chdir("/")
    assert catalog.find_mirror(deep) == tmp_path / "shared" / "data"
