"""What an artifact store must hold, wherever its bytes lie.

A backend's test gives `artifacts` (an empty store) and `objects` (the same place, to damage it behind the store's back).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput
from penstock.store.artifacts import Artifacts
from penstock.store.manifest import FileEntry, Manifest
from penstock.store.objects import Objects, blob_name, manifest_name

ABSENT = "sha256:" + "0" * 64


def fill(folder: Path, **files: str) -> Path:
    """A folder with these files; `__` in a name is a slash."""
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


class ArtifactsConformance:
    """`again` opens the same store as another process with an empty cache would."""

    def again(self, artifacts: Artifacts, tmp_path: Path) -> Artifacts:
        return Artifacts(artifacts.url, tmp_path / "another cache")

    def test_what_is_committed_comes_back(self, artifacts: Artifacts, tmp_path: Path) -> None:
        source = fill(tmp_path / "out", a="one", deep__er__b="two", empty="")
        manifest = artifacts.commit(source, "dataset", {"rows": 3})
        assert [(f.path, f.size) for f in manifest.files] == [("a", 3), ("deep/er/b", 3), ("empty", 0)]
        assert read(source) == read(artifacts.materialize(manifest.digest))
        other = self.again(artifacts, tmp_path)
        assert other.manifest(manifest.digest) == manifest
        assert read(other.materialize(manifest.digest)) == read(source)
        assert other.has(manifest.digest)
        other.verify(manifest.digest)

    def test_an_artifact_may_be_empty(self, artifacts: Artifacts, tmp_path: Path) -> None:
        manifest = artifacts.commit(fill(tmp_path / "out"), "report", {})
        assert read(artifacts.materialize(manifest.digest)) == {}

    def test_part_of_an_artifact_is_named_as_one_of_its_own(self, artifacts: Artifacts, tmp_path: Path) -> None:
        whole = artifacts.commit(fill(tmp_path / "whole", weights="w", adapter__config="c"), "model", {})
        entry = next(file for file in whole.files if file.path == "adapter/config")
        part = Manifest("adapter", (FileEntry("config", entry.size, entry.digest),))
        artifacts.name(part)
        assert part == artifacts.commit(fill(tmp_path / "part", config="c"), "adapter", {})
        artifacts.drop(whole.digest)
        artifacts.collect({part.digest}, 0.0)
        assert read(self.again(artifacts, tmp_path).materialize(part.digest)) == {"config": "c"}
        with pytest.raises(ArtifactMissing, match="is missing"):
            artifacts.name(Manifest("adapter", (FileEntry("config", 3, ABSENT),)))

    def test_the_digest_follows_from_the_content_alone(self, artifacts: Artifacts, tmp_path: Path) -> None:
        first = artifacts.commit(fill(tmp_path / "x", a="one", b="two"), "model", {"p": 1, "q": 2})
        second = artifacts.commit(fill(tmp_path / "y", b="two", a="one"), "model", {"q": 2, "p": 1})
        assert first.digest == second.digest
        assert artifacts.commit(tmp_path / "x", "export", {"p": 1, "q": 2}).digest != first.digest
        assert artifacts.commit(fill(tmp_path / "z", a="one", c="two"), "model", {"p": 1, "q": 2}).digest != first.digest

    def test_consumed_files_may_be_moved_and_come_back(self, artifacts: Artifacts, tmp_path: Path) -> None:
        source = fill(tmp_path / "out", a="one", same="one", b="two")
        expected = read(source)
        manifest = artifacts.commit(source, "model", {}, consume=True)
        assert read(self.again(artifacts, tmp_path).materialize(manifest.digest)) == expected

    def test_writing_to_the_source_afterwards_harms_nothing(self, artifacts: Artifacts, tmp_path: Path) -> None:
        source = fill(tmp_path / "out", a="one")
        manifest = artifacts.commit(source, "model", {})
        (source / "a").write_text("changed")
        assert read(self.again(artifacts, tmp_path).materialize(manifest.digest)) == {"a": "one"}

    def test_materialised_files_are_read_only_and_strays_go(self, artifacts: Artifacts, tmp_path: Path) -> None:
        manifest = artifacts.commit(fill(tmp_path / "out", a="one"), "model", {})
        folder = artifacts.materialize(manifest.digest)
        assert (folder / "a").stat().st_mode & 0o222 == 0
        (folder / "stray").write_text("x")
        assert artifacts.materialize(manifest.digest) == folder
        assert read(folder) == {"a": "one"}

    def test_a_damaged_cache_heals(self, artifacts: Artifacts, tmp_path: Path) -> None:
        manifest = artifacts.commit(fill(tmp_path / "out", a="one", b="two"), "model", {})
        folder = artifacts.materialize(manifest.digest)
        (folder / "a").unlink()
        (folder / "b").unlink()
        (folder / "b").write_text("owt")
        assert read(artifacts.materialize(manifest.digest)) == {"a": "one", "b": "two"}

    def test_missing_is_told(self, artifacts: Artifacts, objects: Objects, tmp_path: Path) -> None:
        with pytest.raises(ArtifactMissing, match=ABSENT):
            artifacts.manifest(ABSENT)
        assert not artifacts.has(ABSENT)
        with pytest.raises(BadInput, match="champion"):
            artifacts.materialize("champion")
        manifest = artifacts.commit(fill(tmp_path / "out", a="one"), "model", {})
        other = self.again(artifacts, tmp_path)
        objects.remove(blob_name(manifest.files[0].digest))
        assert not other.has(manifest.digest)
        for act in (other.materialize, other.verify):
            with pytest.raises(ArtifactMissing, match=f"(?s)a of artifact {manifest.digest}"):
                act(manifest.digest)

    @pytest.mark.parametrize("damage", [b"owo", b"on", b""])
    def test_damage_is_told_and_the_same_commit_repairs_it(
        self, artifacts: Artifacts, objects: Objects, tmp_path: Path, damage: bytes
    ) -> None:
        source = fill(tmp_path / "out", a="one", b="two")
        manifest = artifacts.commit(source, "model", {})
        other = self.again(artifacts, tmp_path)
        objects.write(blob_name(manifest.files[0].digest), damage)
        with pytest.raises(ArtifactCorrupt, match=f"a of artifact {manifest.digest}"):
            other.verify(manifest.digest)
        with pytest.raises((ArtifactCorrupt, ArtifactMissing), match=f"a of artifact {manifest.digest}"):
            other.materialize(manifest.digest)
        assert other.commit(source, "model", {}).digest == manifest.digest
        other.verify(manifest.digest)
        assert read(self.again(artifacts, tmp_path / "x").materialize(manifest.digest)) == {"a": "one", "b": "two"}

    def test_a_damaged_manifest_is_told_and_repaired(self, artifacts: Artifacts, objects: Objects, tmp_path: Path) -> None:
        source = fill(tmp_path / "out", a="one")
        manifest = artifacts.commit(source, "model", {})
        objects.write(manifest_name(manifest.digest), manifest.data[:-5])
        other = self.again(artifacts, tmp_path)
        assert not other.has(manifest.digest)
        with pytest.raises(ArtifactCorrupt, match=manifest.digest):
            other.materialize(manifest.digest)
        other.commit(source, "model", {})
        assert self.again(artifacts, tmp_path).manifest(manifest.digest) == manifest

    def test_a_planted_manifest_cannot_write_elsewhere(self, artifacts: Artifacts, objects: Objects, tmp_path: Path) -> None:
        blob = artifacts.commit(fill(tmp_path / "out", a="one"), "model", {}).files[0]
        for name in ("../out", "/etc/passwd", "a/../../b", "a\\b", "a//b", "./a", ""):
            evil = Manifest("model", (FileEntry(name, blob.size, blob.digest),))
            objects.write(manifest_name(evil.digest), evil.data)
            with pytest.raises(BadInput, match="not a name inside an artifact"):
                artifacts.materialize(evil.digest)

    def test_links_stay_inside(self, artifacts: Artifacts, tmp_path: Path) -> None:
        source = fill(tmp_path / "out", a="one")
        (source / "b").symlink_to("a")
        assert read(artifacts.materialize(artifacts.commit(source, "model", {}).digest)) == {"a": "one", "b": "one"}
        for target in (fill(tmp_path / "elsewhere", secret="x") / "secret", source, Path("nowhere")):
            (source / "b").unlink()
            (source / "b").symlink_to(target)
            with pytest.raises(BadInput, match=r"out/b is"):
                artifacts.commit(source, "model", {})
        (source / "b").unlink()
        os.mkfifo(source / "b")
        with pytest.raises(BadInput, match="not a regular file"):
            artifacts.commit(source, "model", {})
        with pytest.raises(BadInput, match="not a folder"):
            artifacts.commit(tmp_path / "nowhere", "model", {})

    def test_notes(self, artifacts: Artifacts, tmp_path: Path) -> None:
        assert artifacts.get_note("jobs/ab.json") is None
        artifacts.put_note("jobs/ab.json", b"1")
        artifacts.put_note("jobs/ab.json", b"2")
        assert self.again(artifacts, tmp_path).get_note("jobs/ab.json") == b"2"
        with pytest.raises(BadInput):
            artifacts.put_note("../x", b"")

    def test_collection_spares_what_is_referenced_shared_or_young(self, artifacts: Artifacts, tmp_path: Path) -> None:
        kept = artifacts.commit(fill(tmp_path / "x", a="shared", b="kept"), "model", {})
        gone = artifacts.commit(fill(tmp_path / "y", a="shared", c="gone!"), "model", {})
        young = artifacts.collect({kept.digest}, grace_s=3600.0)
        assert (young.artifacts, young.blobs, young.kept_artifacts) == ((), 0, 2)
        told = artifacts.collect({kept.digest}, grace_s=-3600.0, dry_run=True)
        assert artifacts.has(gone.digest)
        copies = [artifacts.materialize(manifest.digest) for manifest in (kept, gone)]
        report = artifacts.collect({kept.digest}, grace_s=-3600.0)
        assert report == told
        assert [copy.exists() for copy in copies] == [True, False]
        assert (report.artifacts, report.blobs, report.freed_bytes, report.kept_bytes) == ((gone.digest,), 1, 5, 10)
        assert not artifacts.has(gone.digest)
        artifacts.verify(kept.digest)
        with pytest.raises(ArtifactMissing):
            artifacts.materialize(gone.digest)

    def test_what_another_process_dropped_is_gone(self, artifacts: Artifacts, tmp_path: Path) -> None:
        manifest = artifacts.commit(fill(tmp_path / "x", a="one"), "model", {})
        self.again(artifacts, tmp_path).drop(manifest.digest)
        assert not artifacts.has(manifest.digest)

    def test_dropped_is_gone_and_its_blobs_with_the_next_collection(self, artifacts: Artifacts, tmp_path: Path) -> None:
        manifest = artifacts.commit(fill(tmp_path / "x", a="one"), "model", {})
        artifacts.materialize(manifest.digest)
        artifacts.drop(manifest.digest)
        assert not artifacts.has(manifest.digest)
        artifacts.drop(manifest.digest)
        assert artifacts.collect(set(), grace_s=-3600.0).blobs == 1
