"""Named dataset entries: what `dataset: banking77/train` stands for. Looked up in a local mirror first, then at the public URL.

Bytes are always checked against the entry's SHA-256, wherever they came from. Loads nothing heavy: planning calls this.
"""

from __future__ import annotations

import difflib
import os
import platform
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from penstock.core.digests import digest_bytes, hex_of
from penstock.core.errors import ArtifactCorrupt, BadInput, SourceUnreadable
from penstock.core.files import write_atomic
from penstock.stages.data import docstrings
from penstock.stages.data.remembered import digest_of

TIMEOUT_S = 10.0
SIZE_LIMIT = 256 << 20  # bytes of a download that is held in memory until its checksum is known


@dataclass(frozen=True, slots=True)
class Entry:
    """`path` lies below a mirror folder. `digest` is None for entries built on this machine. `label` is None for plain text."""

    name: str
    path: str
    digest: str | None
    urls: tuple[str, ...]
    licence: str
    text: str = "text"
    label: str | None = None
    format: str = "csv"


@dataclass(frozen=True, slots=True)
class Located:
    """A source's bytes on this machine: a readable file, the digest of its bytes, and where it came from in words."""

    path: Path
    digest: str
    source_description: str


_RAW = "https://raw.githubusercontent.com"
_BANKING = f"{_RAW}/PolyAI-LDN/task-specific-datasets/57ec275d8078af65b7731c2a98be812d844a6d6b/banking_data"
_SHAKESPEARE = f"{_RAW}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare"
BANKING_LICENCE, SHAKESPEARE_LICENCE = "CC-BY-4.0", "public domain (the repository states none)"
DOCSTRINGS, DOCSTRINGS_TEXT = "python-docstrings", "python-docstrings/text"


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "banking77/train",
            "banking77/train.csv",
            "sha256:b06e26ac675513959a63135f11b94ea7786ed02da65db93a5650d8838cbc664b",
            (f"{_BANKING}/train.csv",),
            BANKING_LICENCE,
            label="category",
        ),
        Entry(
            "banking77/test",
            "banking77/test.csv",
            "sha256:d12d6e3bc4c3103966ae786dc435913c0c563dfa328f5a3646d0e62cfeeb474d",
            (f"{_BANKING}/test.csv",),
            BANKING_LICENCE,
            label="category",
        ),
        Entry(
            "tinyshakespeare",
            "tinyshakespeare/input.txt",
            "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            (f"{_SHAKESPEARE}/input.txt",),
            SHAKESPEARE_LICENCE,
            format="text",
        ),
        Entry(DOCSTRINGS, "docstrings.csv", None, (), docstrings.LICENCE, label="module"),
        Entry(DOCSTRINGS_TEXT, "docstrings.txt", None, (), docstrings.LICENCE, format="text"),
    )
}


def entry_named(name: str) -> Entry:
    """Raises BadInput with the nearest name."""
    if name in ENTRIES:
        return ENTRIES[name]
    near = difflib.get_close_matches(name, ENTRIES, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise BadInput(f"no dataset entry is called {name!r}{hint} (known: {', '.join(ENTRIES)})")


def find_mirror(beside: Path | None = None) -> Path | None:
    """PENSTOCK_MIRROR, else `../shared/data` of the working directory, of `beside`, or of the repository that holds either."""
    if (told := os.environ.get("PENSTOCK_MIRROR")) is not None:
        return Path(told) if told and Path(told).is_dir() else None
    for start in (Path.cwd(), *([beside.absolute()] if beside else [])):
        roots = (parent for parent in start.parents if (parent / ".git").exists() or (parent / "pyproject.toml").exists())
        for folder in (start, *roots):
            if (mirror := folder.parent / "shared" / "data").is_dir():
                return mirror
    return None


def resolve(entry: Entry, mirror: Path | None, cache: Path) -> Located:
    """The entry's bytes, checked. Raises ArtifactCorrupt (mirror or download differs), SourceUnreadable (nowhere to be had)."""
    if entry.digest is None:
        return _built(entry, cache)
    mirrored = mirror / entry.path if mirror else None
    if mirrored is not None and mirrored.is_file():
        _check(digest_of(mirrored, cache), entry, str(mirrored))
        return Located(mirrored, entry.digest, f"local mirror {mirror}")
    cached = cache / "datasets" / hex_of(entry.digest)[:16] / Path(entry.path).name
    if cached.is_file() and digest_of(cached, cache) == entry.digest:
        return Located(cached, entry.digest, "downloaded before")
    url = _download(entry, cached, mirrored)
    return Located(cached, entry.digest, f"downloaded from {url}")


def resolve_with_fallback(entry: Entry, mirror: Path | None, cache: Path) -> tuple[Entry, Located]:
    """The entry, or, when it can be had nowhere, the docstrings in its place. The caller compares and says so loudly."""
    try:
        return entry, resolve(entry, mirror, cache)
    except SourceUnreadable:
        instead = ENTRIES[DOCSTRINGS_TEXT if entry.label is None else DOCSTRINGS]
        return instead, resolve(instead, mirror, cache)


def _built(entry: Entry, cache: Path) -> Located:
    version = f"{sys.implementation.name}-{platform.python_version()}"
    path = cache / "datasets" / f"{version}-1" / entry.path  # the 1 rises with any change of what is built
    if not path.is_file():
        (docstrings.build_text if entry.name == DOCSTRINGS_TEXT else docstrings.build_rows)(path)
    return Located(path, digest_of(path, cache), f"built from the standard library of {version}")


def _check(found: str, entry: Entry, where: str) -> None:
    if found != entry.digest:
        raise ArtifactCorrupt(
            f"dataset {entry.name!r}: {where} has {found}, but the entry is {entry.digest}",
            remedy="Remove or replace that copy; to use other bytes on purpose, name them by `uri:`.",
        )


def _download(entry: Entry, cached: Path, mirrored: Path | None) -> str:
    tried = [f"no mirror copy at {mirrored}" if mirrored else "no local mirror (PENSTOCK_MIRROR)"]
    for url in entry.urls:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                data = answer.read(SIZE_LIMIT + 1)
        except (OSError, urllib.error.URLError) as error:
            tried.append(f"{url}: {error}")
            continue
        if len(data) > SIZE_LIMIT:
            raise SourceUnreadable(f"{url} is larger than {SIZE_LIMIT >> 20} MiB, which dataset {entry.name!r} is not")
        _check(digest_bytes(data), entry, url)
        write_atomic(cached, data)
        return url
    raise SourceUnreadable(
        f"dataset {entry.name!r} is not to be had: {'; '.join(tried)}",
        remedy="Put the files into a folder and set PENSTOCK_MIRROR to it, go online, or use the fallback `python-docstrings`.",
    )


def available(name: str, mirror: Path | None = None, cache: Path | None = None) -> bool:
    """Whether the entry can be had here and now: mirror, cache or network. Downloads into `cache` when one is given."""
    entry = entry_named(name)
    mirror = mirror or find_mirror()
    if entry.digest is None or (mirror is not None and (mirror / entry.path).is_file()):
        return True
    if cache is not None:
        try:
            resolve(entry, mirror, cache)
        except SourceUnreadable:
            return False
        return True
    return any(_answers(url) for url in entry.urls)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
