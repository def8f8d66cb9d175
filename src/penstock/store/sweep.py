"""Collection inside the artifact store: what is marked stays, what is young stays, the rest goes; manifests before their blobs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from penstock.core.digests import digest_bytes
from penstock.store.manifest import Manifest
from penstock.store.objects import Objects, Stored, blob_name


@dataclass(frozen=True, slots=True)
class Collected:
    """What went (digests of artifacts, count and bytes of blobs) and what stayed."""

    artifacts: tuple[str, ...]
    blobs: int
    freed_bytes: int
    kept_artifacts: int
    kept_bytes: int


@dataclass(frozen=True, slots=True)
class Grace:
    """What was written within `seconds` stays; counted from the newest write when `from_newest`, else from now."""

    seconds: float
    from_newest: bool = False

    def cutoff(self, objects: Objects) -> float:
        now = time.time()
        if self.from_newest:
            now = min(now, max((s.modified_at for prefix in ("manifests", "blobs") for s in objects.list(prefix)), default=now))
        return now - self.seconds


def sweep(objects: Objects, cache: Path, referenced: set[str], grace: Grace, *, dry_run: bool = False) -> Collected:
    """A blob that a kept manifest lists is never removed. `dry_run` tells what would go."""
    cutoff = grace.cutoff(objects)
    gone: list[str] = []
    kept, needed = set[str](), set[str]()
    for stored in objects.list("manifests"):
        digest = "sha256:" + stored.name.rpartition("/")[2]
        listed = _blobs_of(objects, stored)
        doomed = digest not in referenced and stored.modified_at <= cutoff
        if doomed and (dry_run or objects.remove(stored.name, cutoff)):
            gone.append(digest)
        else:
            kept.add(digest)
            needed |= listed
    count = freed = kept_bytes = 0
    for stored in objects.list("blobs"):
        doomed = stored.name not in needed and stored.modified_at <= cutoff
        if doomed and (dry_run or objects.remove(stored.name, cutoff)):
            count, freed = count + 1, freed + stored.size
        else:
            kept_bytes += stored.size
    if not dry_run:
        for stored in objects.list("parts"):
            objects.remove(stored.name, cutoff)
        tidy_cache(cache, kept, cutoff)
    return Collected(tuple(gone), count, freed, len(kept), kept_bytes)


def tidy_cache(cache: Path, kept: set[str], cutoff: float) -> None:
    """Takes away local copies of artifacts that the store no longer has, and old files that no copy uses."""
    for folder in sorted((cache / "artifacts").glob("*")):
        if f"sha256:{folder.name}" not in kept and folder.stat().st_mtime <= cutoff:
            shutil.rmtree(folder, ignore_errors=True)
    for path in sorted([*(cache / "parts").glob("*"), *(cache / "blobs").glob("*/*")]):
        found = path.stat()
        if found.st_nlink == 1 and found.st_mtime <= cutoff:
            path.unlink(missing_ok=True)


def _blobs_of(objects: Objects, stored: Stored) -> set[str]:
    data = objects.read(stored.name)
    if data is None or digest_bytes(data) != "sha256:" + stored.name.rpartition("/")[2]:
        return set()  # its artifact cannot be read in any case
    return {blob_name(entry.digest) for entry in Manifest.parse(data).files}
