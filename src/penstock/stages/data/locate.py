"""Where a source's bytes lie on this machine, and their digest: what planning needs before any row is read.

Loads no table library.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from penstock.core.errors import SourceUnreadable
from penstock.spec.pipeline import Source
from penstock.stages.data.catalog import Located, entry_named, find_mirror, resolve
from penstock.stages.data.remembered import digest_of
from penstock.stages.data.remote import fetch


def locate(source: Source, beside: Path, cache: Path) -> Located:
    """`beside` is the folder that relative paths start from. Raises SourceUnreadable, ArtifactCorrupt (a wrong checksum), BadInput."""
    if source.dataset is not None:
        return resolve(entry_named(source.dataset), find_mirror(beside), cache)
    uri = source.uri or ""
    scheme = urlsplit(uri).scheme
    if len(scheme) > 1 and scheme != "file":  # one letter is a drive
        path = fetch(uri, cache / "sources")
        return Located(path, digest_of(path, cache), f"fetched from {uri}")
    path = beside / (unquote(urlsplit(uri).path) if scheme == "file" else os.path.expanduser(uri))
    _require_file(path, uri)
    return Located(path, digest_of(path, cache), uri)


def _require_file(path: Path, uri: str) -> None:
    if path.is_dir():
        raise SourceUnreadable(f"{uri} is a folder ({path})", remedy="Name each file as a source of its own.")
    if not path.exists():
        raise SourceUnreadable(
            f"{uri} does not exist (looked at {path.absolute()})", remedy="Paths are relative to the pipeline file's folder."
        )
    if not os.access(path, os.R_OK):
        raise SourceUnreadable(f"{uri} may not be read by this user", remedy="Change its permissions.")
