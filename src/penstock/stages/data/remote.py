"""Sources by URL, copied into the cache once per version of what the URL holds: http(s) by the standard library, the rest by fsspec."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from penstock.core.digests import canonical
from penstock.core.errors import ExtraMissing, SourceUnreadable
from penstock.core.files import told_plainly, write_atomic

TIMEOUT_S = 30.0
FACTS = ("ETag", "etag", "Last-Modified", "LastModified", "mtime", "generation", "size", "Content-Length")


def fetch(uri: str, cache: Path) -> Path:
    """The local copy, under the name that the URL ends with. Fetched again when its entity tag, time or size changed, or tells nothing."""
    name = Path(unquote(urlsplit(uri).path)).name or "source"
    target = cache / sha256(uri.encode()).hexdigest()[:32] / name
    try:
        facts, copy = _http(uri) if urlsplit(uri).scheme in ("http", "https") else _other(uri)
    except ImportError as error:
        raise ExtraMissing(
            f"{uri} needs a library that is not installed ({error})", remedy="For s3:// run: pip install 'penstock[s3]'"
        ) from error
    except (OSError, ValueError) as error:
        raise SourceUnreadable(f"{uri} cannot be reached: {error}", remedy="Check the address, the network and the credentials.") from error
    note = target.with_name(f"{name}.facts.json")
    if facts and target.is_file() and note.is_file() and json.loads(note.read_bytes()) == facts:
        return target
    _copy(uri, copy, target)
    write_atomic(note, canonical(facts), sync=False)
    return target


def _copy(uri: str, copy: Callable[[BinaryIO], None], target: Path) -> None:
    beside = target.with_name(f".{target.name}.part")
    with told_plainly(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with beside.open("wb") as out:
            copy(out)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise SourceUnreadable(f"{uri} broke off: {error}", remedy="Try again; nothing half-read was kept.") from error


def _http(uri: str) -> tuple[dict[str, str], Callable[[BinaryIO], None]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(uri, method="HEAD"), timeout=TIMEOUT_S) as answer:
            facts = {name: answer.headers[name] for name in FACTS if answer.headers.get(name)}
    except urllib.error.HTTPError as error:
        if error.code not in (403, 405, 501):  # some servers, and signed URLs, answer GET alone
            raise
        facts = {}

    def copy(out: BinaryIO) -> None:
        with urllib.request.urlopen(uri, timeout=TIMEOUT_S) as answer:
            shutil.copyfileobj(answer, out, 1 << 20)

    return (facts if set(facts) - {"Content-Length"} else {}), copy


def _other(uri: str) -> tuple[dict[str, str], Callable[[BinaryIO], None]]:
    import fsspec

    system, path = fsspec.core.url_to_fs(uri)
    info: dict[str, Any] = system.info(path)
    facts = {name: str(info[name]) for name in FACTS if info.get(name) is not None}

    def copy(out: BinaryIO) -> None:
        with system.open(path, "rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)

    return (facts if set(facts) - {"size"} else {}), copy
