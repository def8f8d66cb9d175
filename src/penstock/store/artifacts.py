"""Artifacts: folders by content. Blobs by SHA-256, then the manifest that lists them; the manifest is the completion marker.

Local stores share bytes by hard links: a materialised file is the blob. Files are read-only; whoever writes to one all the same
damages the blob, which the next process notices by its digest.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from penstock.core.digests import digest_bytes, hex_of
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput
from penstock.core.files import told_plainly
from penstock.store import verified
from penstock.store.local_objects import LocalObjects
from penstock.store.manifest import FileEntry, Manifest
from penstock.store.objects import Objects, blob_name, manifest_name, safe_name
from penstock.store.sweep import Collected, Grace, sweep

_ATTEMPTS = 3


class Artifacts:
    """`url`: `file:///…`, a plain path, or what fsspec knows (`s3://bucket/prefix`). `cache`: local folder for materialised artifacts."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url, self._cache = url, cache.absolute()
        self._objects = _objects(url, self._cache)
        self._manifests: dict[str, Manifest] = {}

    def commit(self, folder: Path, kind: str, meta: Mapping[str, Any], *, consume: bool = False) -> Manifest:
        """Stores every file of `folder`; a crash before the end leaves no artifact. Repairs blobs that were damaged.

        `consume`: files may be moved into the store and are then gone from `folder`. Raises BadInput (a link out of the folder),
        DiskFull, ReadOnly.
        """
        folder = folder.absolute()
        sources = {}
        for path in _files(folder):
            name = safe_name(path.relative_to(folder).as_posix())
            sources[name] = (path, FileEntry(name, path.stat().st_size, verified.digest_of(path)))
        manifest = Manifest(kind, tuple(entry for _, entry in sources.values()), dict(meta))
        for _ in range(_ATTEMPTS):
            self._store(manifest, {name: path for name, (path, _) in sources.items()}, consume)
            # A collection may have taken an old blob between our look at it and the naming of the manifest.
            if all(self._objects.exists(blob_name(entry.digest), entry.size) for entry in manifest.files):
                self._manifests[manifest.digest] = manifest
                return manifest
        raise ArtifactMissing(
            f"blobs of {manifest.digest} vanish while it is committed", where=str(folder), remedy="Stop what deletes them."
        )

    def _store(self, manifest: Manifest, sources: Mapping[str, Path], consume: bool) -> None:
        for entry in manifest.files:
            name = blob_name(entry.digest)
            if not self._objects.refresh(name, entry.digest, entry.size):
                self._objects.add(name, sources[entry.path], entry.digest, consume)
        self._objects.write(manifest_name(manifest.digest), manifest.data)

    def name(self, manifest: Manifest) -> None:
        """An artifact of files that the store has already, such as part of another. Raises ArtifactMissing."""
        for entry in manifest.files:
            if not self._objects.refresh(blob_name(entry.digest), entry.digest, entry.size):
                raise _missing(entry, manifest.digest, self.url)
        self._objects.write(manifest_name(manifest.digest), manifest.data)
        self._manifests[manifest.digest] = manifest

    def manifest(self, digest: str) -> Manifest:
        """Raises ArtifactMissing, ArtifactCorrupt."""
        known = self._manifests.get(digest)
        if known is not None:
            return known
        data = self._objects.read(manifest_name(_checked(digest)))
        if data is None:
            raise ArtifactMissing(f"no artifact {digest} in {self.url}")
        if digest_bytes(data) != digest:
            raise ArtifactCorrupt(f"the manifest of {digest} has other bytes than its digest says", where=self.url)
        manifest = Manifest.parse(data)
        for entry in manifest.files:
            safe_name(entry.path)
        self._manifests[digest] = manifest
        return manifest

    def materialize(self, digest: str) -> Path:
        """A folder of read-only files, every byte checked by this process. Raises ArtifactMissing, ArtifactCorrupt, DiskFull."""
        manifest = self.manifest(digest)
        folder = self._cache / "artifacts" / hex_of(digest)
        with told_plainly(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for entry in manifest.files:
                self._place(folder / entry.path, entry, digest)
            self._drop_strays(folder, manifest)
        return folder

    def _place(self, target: Path, entry: FileEntry, artifact: str) -> None:
        try:
            if not target.is_symlink() and verified.digest_of(target, owned=True) == entry.digest:
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        source = self._blob(entry, artifact)
        beside = LocalObjects(self._cache).beside()
        try:
            _share(source, beside, entry, artifact)
            LocalObjects.name(beside, target)
        finally:
            beside.unlink(missing_ok=True)  # rename(2) leaves it when both names are links of one file

    def _blob(self, entry: FileEntry, artifact: str) -> Path:
        try:
            source = self._objects.fetch(blob_name(entry.digest), entry.digest)
        except ArtifactCorrupt as error:
            raise _corrupt(entry, artifact, error) from error
        if source is None:
            raise _missing(entry, artifact, self.url)
        return source

    def _drop_strays(self, folder: Path, manifest: Manifest) -> None:
        expected = {entry.path for entry in manifest.files}
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                if path.relative_to(folder).as_posix() not in expected:
                    path.unlink(missing_ok=True)

    def has(self, digest: str) -> bool:
        """The manifest and all its blobs are there; their bytes are not read."""
        try:
            manifest = self.manifest(digest)
        except (ArtifactMissing, ArtifactCorrupt):
            return False
        names = [(manifest_name(digest), len(manifest.data)), *((blob_name(e.digest), e.size) for e in manifest.files)]
        return all(self._objects.exists(name, size) for name, size in names)

    def verify(self, digest: str) -> None:
        """Reads every byte in the store. Raises ArtifactCorrupt, ArtifactMissing."""
        self._manifests.pop(digest, None)
        for entry in self.manifest(digest).files:
            try:
                sound = self._objects.check(blob_name(entry.digest), entry.digest)
            except ArtifactCorrupt as error:
                raise _corrupt(entry, digest, error) from error
            if not sound:
                raise _missing(entry, digest, self.url)

    def drop(self, digest: str) -> None:
        """Takes the artifact away; its blobs go with the next collection if nothing else has them."""
        self._manifests.pop(digest, None)
        self._objects.remove(manifest_name(_checked(digest)))
        shutil.rmtree(self._cache / "artifacts" / hex_of(digest), ignore_errors=True)

    def put_note(self, name: str, data: bytes) -> None:
        """A small named file, replaced whole."""
        self._objects.write(f"notes/{safe_name(name)}", data)

    def get_note(self, name: str) -> bytes | None:
        return self._objects.read(f"notes/{safe_name(name)}")

    def note_url(self, name: str) -> str:
        """Where a note lies, or a folder of them: for what reads and writes it without us."""
        return f"{self.url.rstrip('/')}/notes/{safe_name(name)}"

    def notes(self, folder: str) -> list[str]:
        """Names of the notes below a folder, in order."""
        return sorted(stored.name.removeprefix("notes/") for stored in self._objects.list(f"notes/{safe_name(folder)}"))

    def drop_note(self, name: str) -> None:
        """Idempotent."""
        self._objects.remove(f"notes/{safe_name(name)}")

    def collect(self, referenced: set[str], grace_s: float, *, dry_run: bool = False, busy: bool = False) -> Collected:
        """Removes artifacts that are not `referenced` and blobs that no artifact has, unless written within `grace_s`.

        `busy`: somebody works, so `grace_s` counts from the newest write, which no jump of the clock moves.
        """
        self._manifests.clear()
        return sweep(self._objects, self._cache, referenced, Grace(grace_s, busy), dry_run=dry_run)


def _share(source: Path, beside: Path, entry: FileEntry, artifact: str) -> None:
    before = verified.snapshot(source)
    try:
        os.link(source, beside)
        verified.carry(beside, before)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, beside)
        beside.chmod(0o444)
        if verified.digest_now(beside) != entry.digest:
            raise ArtifactCorrupt(f"{entry.path} of {artifact} changed while it was copied", where=str(source)) from None


def _corrupt(entry: FileEntry, artifact: str, error: ArtifactCorrupt) -> ArtifactCorrupt:
    return ArtifactCorrupt(f"{entry.path} of artifact {artifact} is corrupt: {error.message}", where=error.where)


def _missing(entry: FileEntry, artifact: str, url: str) -> ArtifactMissing:
    return ArtifactMissing(f"{entry.path} of artifact {artifact} is missing (blob {entry.digest})", where=url)


def _objects(url: str, cache: Path) -> Objects:
    scheme = urlparse(url).scheme
    if scheme in ("", "file"):
        return LocalObjects(Path(unquote(urlparse(url).path)).absolute())
    from penstock.store.remote_objects import RemoteObjects  # fsspec costs 30 ms

    return RemoteObjects(url, cache)


def _checked(digest: str) -> str:
    try:
        hex_of(digest)
    except ValueError as error:
        raise BadInput(f"{digest!r} is not an artifact digest; write sha256: and 64 hex digits") from error
    return digest


def _files(folder: Path) -> list[Path]:
    """Regular files, sorted. Links are followed to files inside the folder only; raises BadInput for any other thing."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is not a folder, so it cannot become an artifact")
    root, found = folder.resolve(), []
    for parent, folders, names in os.walk(folder):
        for name in [*names, *(f for f in folders if Path(parent, f).is_symlink())]:
            path = Path(parent, name)
            if path.is_symlink() and (not path.resolve().is_relative_to(root) or path.is_dir()):
                raise BadInput(f"{path} is a link to a folder or out of its artifact; copy what it points to (cp -L)")
            if not path.is_file():
                raise BadInput(f"{path} is not a regular file, so it cannot be part of an artifact")
            found.append(path)
    return sorted(found, key=lambda p: p.relative_to(folder).as_posix())
