"""A bundle that lies in the image itself: `files/`, and the manifest that its digest is of. Nothing is fetched, nothing copied."""

from __future__ import annotations

from pathlib import Path

from penstock.core.digests import digest_bytes, digest_file, files_under
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing
from penstock.store.manifest import Manifest

MANIFEST, FILES = "manifest.json", "files"


def baked(folder: Path, digest: str) -> Path:
    """The bundle's folder, every byte checked. Raises ArtifactMissing, ArtifactCorrupt."""
    if not (folder / MANIFEST).is_file():
        raise ArtifactMissing(f"{folder} holds no bundle", remedy="Build the image with --bundle, or leave `folder` out.")
    data = (folder / MANIFEST).read_bytes()
    if digest_bytes(data) != digest:
        raise ArtifactCorrupt(f"the image holds the bundle {digest_bytes(data)}, not {digest}", remedy="Build the image again.")
    expected = {entry.path: entry.digest for entry in Manifest.parse(data).files}
    found = {path.relative_to(folder / FILES).as_posix(): digest_file(path) for path in files_under(folder / FILES)}
    for path in sorted(expected.keys() | found.keys()):
        if expected.get(path) != found.get(path):
            raise ArtifactCorrupt(
                f"{path} of the bundle in the image has other bytes than its manifest says", remedy="Build the image again."
            )
    return folder / FILES
