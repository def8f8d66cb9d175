"""Objects behind fsspec: S3, Google Cloud Storage, Azure, memory. A put becomes visible whole or not at all, so nothing is renamed.

What is read is downloaded beside, checked and named in a local cache that artifacts share. A blob with wrong bytes is moved to
`corrupt/`, so that the step that is run again stores a good one. Not covered: an object store that shows half a put.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from penstock.core.errors import ArtifactCorrupt, ArtifactsUnavailable, BadInput, ExtraMissing
from penstock.core.files import told_plainly
from penstock.store import verified
from penstock.store.local_objects import LocalObjects
from penstock.store.objects import Stored

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "abfs": "azure", "abfss": "azure", "az": "azure"}
_REFRESH_AFTER_S = 3600.0  # below every grace of a collection


class RemoteObjects:
    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self._files, self._root = _connect(url)
        self._cache = LocalObjects(cache)

    def read(self, name: str) -> bytes | None:
        with self._told(name):
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        with self._told(name, writing=True):
            self._files.pipe_file(self._path(name), data)

    def add(self, name: str, source: Path, digest: str, consume: bool) -> None:
        self._cache.add(name, source, digest, consume)
        local = self._cache.root / name
        with self._told(name, writing=True):
            self._files.put_file(str(local), self._path(name))
        found = self._info(name)
        if found is None or found.size != local.stat().st_size:
            raise ArtifactCorrupt(f"{name} has {found and found.size} bytes after it was stored", where=self.url)

    def refresh(self, name: str, digest: str, size: int) -> bool:  # noqa: ARG002  only a local store can check it here
        """By size alone: the bytes are checked by whoever reads them, and bad ones are then moved away."""
        found = self._info(name)
        if found is None or found.size != size:
            return False
        if time.time() - found.modified_at > _REFRESH_AFTER_S:
            with self._told(name):
                path = self._path(name)
                self._files.cp_file(path, f"{path}.again")
                self._files.cp_file(f"{path}.again", path)
                self._files.rm_file(f"{path}.again")
        return True

    def exists(self, name: str, size: int) -> bool:
        found = self._info(name)
        return found is not None and found.size == size

    def fetch(self, name: str, digest: str) -> Path | None:
        try:
            local = self._cache.fetch(name, digest)
            if local is not None:
                return local
        except ArtifactCorrupt:
            self._cache.remove(name)
        for last in (False, True):
            beside = self._cache.beside()
            try:
                with self._told(name):
                    self._files.get_file(self._path(name), str(beside))
                if verified.digest_now(beside) == digest:
                    beside.chmod(0o444)
                    self._cache.name(beside, self._cache.root / name)
                    return self._cache.root / name
            except FileNotFoundError:
                return None
            finally:
                beside.unlink(missing_ok=True)
            if last:
                self._quarantine(name)
        raise ArtifactCorrupt(f"stored bytes of {name} do not have digest {digest}", where=self.url)

    def check(self, name: str, digest: str) -> bool:
        """Reads the stored bytes again, whatever the cache holds."""
        with contextlib.suppress(FileNotFoundError):
            (self._cache.root / name).unlink()
        return self.fetch(name, digest) is not None

    def list(self, prefix: str) -> Iterator[Stored]:
        with self._told(prefix):
            try:
                found = self._files.find(self._path(prefix), detail=True)
            except FileNotFoundError:
                return
        for path, info in sorted(found.items()):
            yield Stored(path[len(self._root) :].lstrip("/"), int(info["size"]), _modified(info))

    def remove(self, name: str, unless_since: float | None = None) -> bool:
        found = self._info(name)
        if found is None or (unless_since is not None and found.modified_at > unless_since):
            return False
        with self._told(name), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))
        self._cache.remove(name)
        return True

    def _info(self, name: str) -> Stored | None:
        with self._told(name):
            try:
                info = self._files.info(self._path(name))
            except FileNotFoundError:
                return None
        return Stored(name, int(info["size"]), _modified(info))

    def _quarantine(self, name: str) -> None:
        path = self._path(name)
        try:
            self._files.cp_file(path, self._path("corrupt/" + name.rpartition("/")[2]))
            self._files.rm_file(path)
        except _refusals():
            return  # a reader without the right to write still reports the corruption

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _told(self, name: str, *, writing: bool = False) -> Iterator[None]:
        with told_plainly(Path(name)):
            try:
                yield
            except FileNotFoundError as error:
                if not writing:
                    raise
                raise ArtifactsUnavailable(f"{self.url}: there is no such bucket or container ({error})") from error
            except _vendor_errors() as error:
                raise ArtifactsUnavailable(f"{self.url}: {error}") from error
            except (ConnectionError, TimeoutError) as error:
                raise ArtifactsUnavailable(f"{self.url}: {error}") from error


def _connect(url: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0]
    if _EXTRAS.get(scheme) == "gs":
        # Or gcsfs asks a second service about every bucket, for kinds of buckets that nothing here needs.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        files, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **_options(scheme))
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        command = f"pip install 'penstock[{extra}]'" if extra else "install the fsspec package for this scheme"
        raise ExtraMissing(f"artifacts at {url} need a package that is not installed ({error})", remedy=f"Run: {command}") from error
    except ValueError as error:
        raise BadInput(f"{url!r} is not a place for artifacts ({error})") from error
    return files, root.rstrip("/")


def _options(scheme: str) -> dict[str, Any]:
    """fsspec keeps one client per options: the endpoint must be among them, or another one's client would answer."""
    extra = _EXTRAS.get(scheme)
    if extra == "azure":
        return {"anon": False}  # credentials by Azure's own chain; adlfs would else ask as nobody
    s3 = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = {"s3": s3, "gs": os.environ.get("STORAGE_EMULATOR_HOST")}.get(extra or "")
    return {"endpoint_url": endpoint} if endpoint else {}


def _vendor_errors() -> tuple[type[Exception], ...]:
    """What vendors' libraries raise beside OSError; nothing of those that are not loaded."""
    known = {
        "botocore.exceptions": ("BotoCoreError", "ClientError"),
        "azure.core.exceptions": ("AzureError",),
        "gcsfs.retry": ("HttpError",),
        "google.auth.exceptions": ("GoogleAuthError",),
        "aiohttp": ("ClientError",),
    }
    return tuple(getattr(sys.modules[module], name) for module, names in known.items() if module in sys.modules for name in names)


def _refusals() -> tuple[type[Exception], ...]:
    return (OSError, *_vendor_errors())


def _modified(info: dict[str, Any]) -> float:
    value = info.get("LastModified") or info.get("last_modified") or info.get("mtime") or info.get("updated") or info.get("created")
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, str):
        return datetime.fromisoformat(value).timestamp()
    if isinstance(value, (int, float)):
        return float(value)
    return time.time()  # unknown counts as just written, so that a collection leaves it
