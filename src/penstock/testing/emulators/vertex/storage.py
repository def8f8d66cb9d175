"""Cloud Storage's JSON API for objects: upload (multipart, resumable), download, metadata, pages, rewrite, delete. Objects are files.

Not covered: access control, object versions, composed and encrypted objects, HTTP batches. Source: Cloud Storage JSON API reference.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import fnmatch
import hashlib
import itertools
import json
import os
import re
import secrets
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from penstock.testing.emulators.http import Asked, Reply

PAGE = 1000
_OBJECT = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
_REWRITE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_DOWNLOAD = re.compile(r"/download/storage/v1/b/([^/]+)/o/([^/]+)")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Storage:
    """Buckets are folders of `folder`; the name of an object's file is its quoted name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._uploads: dict[str, tuple[str, str, bytearray]] = {}
        self._numbers, self._lock = itertools.count(1), Lock()

    def create_bucket(self, name: str) -> None:
        (self._folder / name).mkdir(parents=True)

    def read(self, uri: str) -> bytes:
        """Of an object, or of all that an address with `*` means, as services beside this one read them."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if "*" not in name:
            return self._path(bucket, name).read_bytes()
        names = sorted(unquote(path.name) for path in (self._folder / bucket).iterdir() if "~" not in path.name)
        return b"".join(self._path(bucket, one).read_bytes() for one in names if fnmatch.fnmatchcase(one, name))

    def write(self, uri: str, data: bytes) -> None:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        self._kept(bucket, name, data)

    def answer(self, asked: Asked) -> Reply | None:
        """None for what is no request to Cloud Storage."""
        url = urlsplit(asked.target)
        query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        for pattern, act in self._routes():
            found = pattern.fullmatch(url.path)
            if found is not None:
                bucket, *rest = map(unquote, found.groups())
                if not (self._folder / bucket).is_dir():
                    return _error(404, "The specified bucket does not exist.")
                reply: Reply = act(asked, query, bucket, *rest)
                return reply
        return None

    def _routes(self) -> tuple[tuple[re.Pattern[str], Any], ...]:
        return (
            (_UPLOAD, self._upload),
            (_DOWNLOAD, self._download),
            (_REWRITE, self._rewrite),
            (_LIST, self._list),
            (_OBJECT, self._object),
        )

    def _object(self, asked: Asked, query: dict[str, str], bucket: str, name: str) -> Reply:
        try:
            if asked.method == "DELETE":
                self._path(bucket, name).unlink()
                return Reply(204)
            return self._download(asked, query, bucket, name) if query.get("alt") == "media" else _json(self._shown(bucket, name))
        except FileNotFoundError:
            return _missing(bucket, name)

    def _download(self, asked: Asked, query: dict[str, str], bucket: str, name: str) -> Reply:  # noqa: ARG002 (as every route has it)
        try:
            data = self._path(bucket, name).read_bytes()
        except FileNotFoundError:
            return _missing(bucket, name)
        headers = {"content-type": "application/octet-stream", "x-goog-hash": f"md5={_md5(data)}"}
        asked_for = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
        if asked_for is None:
            return Reply(200, data, headers)
        begin, end = int(asked_for[1]), min(int(asked_for[2] or len(data) - 1), len(data) - 1)
        if begin >= len(data):
            return _error(416, "The requested range cannot be satisfied.")
        return Reply(206, data[begin : end + 1], {**headers, "content-range": f"bytes {begin}-{end}/{len(data)}"})

    def _upload(self, asked: Asked, query: dict[str, str], bucket: str) -> Reply:
        kind = query.get("uploadType")
        if "upload_id" in query:
            return self._piece(asked, query["upload_id"])
        if kind == "multipart":
            name, data = _parts(asked)
            return self._store(bucket, name, data)
        if kind == "media":
            return self._store(bucket, query["name"], asked.body)
        if kind == "resumable":
            name = query.get("name") or json.loads(asked.body or b"{}")["name"]
            id_ = secrets.token_urlsafe(40)
            self._uploads[id_] = (bucket, name, bytearray())
            target = f"http://{asked.headers['host']}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={id_}"
            return Reply(200, b"", {"location": target})
        return _error(400, f"Unknown uploadType {kind!r}.")

    def _piece(self, asked: Asked, id_: str) -> Reply:
        if id_ not in self._uploads:
            return _error(404, "No such upload.")
        bucket, name, data = self._uploads[id_]
        if asked.method == "DELETE":
            del self._uploads[id_]
            return Reply(499)
        told = _RANGE.fullmatch(asked.headers.get("content-range", ""))
        if told is None or int(told[1]) != len(data) or int(told[2]) - int(told[1]) + 1 != len(asked.body):
            return _error(400, f"Invalid Content-Range {asked.headers.get('content-range')!r}; {len(data)} bytes are here.")
        data += asked.body
        if len(data) < int(told[3]):
            return Reply(308, b"", {"range": f"bytes=0-{len(data) - 1}"})
        del self._uploads[id_]
        return self._store(bucket, name, bytes(data))

    def _rewrite(self, asked: Asked, query: dict[str, str], bucket: str, name: str, to_bucket: str, to_name: str) -> Reply:  # noqa: ARG002
        try:
            data = self._path(bucket, name).read_bytes()
        except FileNotFoundError:
            return _missing(bucket, name)
        shown = self._kept(to_bucket, to_name, data)
        return _json({"kind": "storage#rewriteResponse", "done": True, "objectSize": len(data), "resource": shown})

    def _list(self, asked: Asked, query: dict[str, str], bucket: str) -> Reply:  # noqa: ARG002
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        names = sorted(
            name for path in (self._folder / bucket).iterdir() if (name := unquote(path.name)).startswith(prefix) and "~" not in path.name
        )
        folders = sorted(
            {prefix + n[len(prefix) :].partition(delimiter)[0] + delimiter for n in names if delimiter and delimiter in n[len(prefix) :]}
        )
        plain = [name for name in names if not delimiter or delimiter not in name[len(prefix) :]]
        begin, size = int(query.get("pageToken") or 0), min(int(query.get("maxResults") or PAGE), PAGE)
        items = []
        for one in plain[begin : begin + size]:
            with contextlib.suppress(FileNotFoundError):  # it was deleted since
                items.append(self._shown(bucket, one))
        answer: dict[str, Any] = {"kind": "storage#objects", "items": items, "prefixes": folders if not begin else []}
        if begin + size < len(plain):
            answer["nextPageToken"] = str(begin + size)
        return _json(answer)

    def _store(self, bucket: str, name: str, data: bytes) -> Reply:
        return _json(self._kept(bucket, name, data))

    def _kept(self, bucket: str, name: str, data: bytes) -> dict[str, Any]:
        """What is shown of it: of these bytes, whoever writes another object of that name meanwhile."""
        path = self._path(bucket, name)
        with self._lock:
            beside = path.with_name(f"~{next(self._numbers)}")
        beside.write_bytes(data)
        stat = beside.stat()
        os.replace(beside, path)
        return _described(bucket, name, data, stat)

    def _shown(self, bucket: str, name: str) -> dict[str, Any]:
        with self._path(bucket, name).open("rb") as file:
            return _described(bucket, name, file.read(), os.fstat(file.fileno()))

    def _path(self, bucket: str, name: str) -> Path:
        return self._folder / bucket / quote(name, safe="")


def _parts(asked: Asked) -> tuple[str, bytes]:
    """Name and data of a multipart/related body."""
    boundary = asked.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    first, _, rest = asked.body.partition(b"--" + boundary)[2].partition(b"--" + boundary)
    name = json.loads(re.split(rb"\r?\n\r?\n", first, maxsplit=1)[1])["name"]
    data = re.split(rb"\r?\n\r?\n", rest, maxsplit=1)[1]
    end = data.rindex(b"--" + boundary + b"--")
    return name, re.sub(rb"\r?\n\Z", b"", data[:end], count=1)


def _described(bucket: str, name: str, data: bytes, stat: os.stat_result) -> dict[str, Any]:
    when = datetime.datetime.fromtimestamp(stat.st_mtime, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/1",
        "name": name,
        "bucket": bucket,
        "size": str(len(data)),
        "updated": when,
        "timeCreated": when,
        "generation": str(stat.st_mtime_ns),
        "storageClass": "STANDARD",
        "contentType": "application/octet-stream",
        "md5Hash": _md5(data),
    }


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _json(value: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"content-type": "application/json; charset=UTF-8"})


def _missing(bucket: str, name: str) -> Reply:
    return _error(404, f"No such object: {bucket}/{name}")


def _error(status: int, message: str) -> Reply:
    return _json({"error": {"code": status, "message": message, "errors": [{"message": message, "domain": "global"}]}}, status)
