"""What people say of answers: `POST /v1/feedback`, appended as `feedback/YYYYMMDD-HH-<pid>.jsonl`, read back for rewards and datasets.

The client is answered after its line was handed to the operating system: `kill -9` of the gateway loses nothing that was acknowledged, a
power failure at most what the kernel had not written back (about 30 s). At most MAX_PENDING lines wait and an hour's file holds at most
SEGMENT_BYTES; beyond either, and on a full disk, the client gets 503 and may try again. Saying the same thing twice is one feedback.
Not covered: whether the request of that id exists or was this key's; `joined.py` finds that out.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import orjson

from penstock.serving.errors import RequestRefused, nearest
from penstock.serving.fields import bad, number, string

log = logging.getLogger("penstock.feedback")
MAX_PENDING, SEGMENT_BYTES, REMEMBERED = 1000, 64 << 20, 4096
MAX_LABEL, MAX_USER, MAX_COMMENT, MAX_CORRECTION = 256, 256, 8192, 65536  # characters
_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_THUMBS = {"up": 1.0, "down": -1.0}
_SAYS = ("score", "thumbs", "label", "correction", "comment")


@dataclass(frozen=True, slots=True)
class Feedback:
    """`id`: of the request (its `x-request-id`, or the answer's `id`). `score` -1 (bad) to 1 (good); a thumb is ±1. `label`: the right
    class. `correction`: the answer that should have been. `key`: id of the gateway key. `ts`: seconds since the epoch. `feedback`: names
    what was said by its content, so the same words from the same key have the same name. `user`: a digest that tells speakers apart.
    """

    ts: float
    id: str
    feedback: str
    key: str | None = None
    score: float | None = None
    label: str | None = None
    correction: str | None = None
    comment: str | None = None
    user: str | None = None


def parse_feedback(value: Mapping[str, Any], key: str | None, now: float) -> Feedback:
    """The body of a request. Raises RequestRefused naming the field."""
    for name in value:
        if name not in ("id", "user", *_SAYS):
            raise bad(f"unknown field {name[:60]!r}{nearest(name, ('id', 'user', *_SAYS))}", name[:60], "unknown_field")
    ident = value.get("id")
    if not isinstance(ident, str) or not _ID.fullmatch(ident):
        raise bad("id must be the id of a request: the answer's `id` or its header x-request-id", "id")
    if all(value.get(name) is None for name in _SAYS):
        raise bad(f"feedback says at least one of {', '.join(_SAYS)}", None)
    score: float | None = number(value, "score", 0.0, -1.0, 1.0) if value.get("score") is not None else None
    thumbs = value.get("thumbs")
    if thumbs is not None:
        if score is not None or not isinstance(thumbs, str) or thumbs not in _THUMBS:
            raise bad("thumbs must be up or down, and stands in for score", "thumbs")
        score = _THUMBS[thumbs]
    said = (
        string(value, "label", MAX_LABEL),
        string(value, "correction", MAX_CORRECTION),
        string(value, "comment", MAX_COMMENT),
        speaker(key, string(value, "user", MAX_USER)),
    )
    digest = hashlib.blake2b(orjson.dumps([key, ident, score, *said]), digest_size=12).hexdigest()
    return Feedback(round(now, 6), ident, f"fb-{digest}", key, score, *said)


def speaker(key: str | None, user: str | None) -> str | None:
    """What is kept of a user's name, which may well be an address: the same for the same name and key."""
    return None if user is None else f"u-{hashlib.blake2b(f'{key} {user}'.encode(), digest_size=8).hexdigest()}"


def masked(said: Feedback, mask: Callable[[str], str]) -> Feedback:
    """Its free texts without personal data; the name stays that of what was said."""
    texts: dict[str, Any] = {name: mask(text) for name in ("label", "correction", "comment") if (text := getattr(said, name)) is not None}
    return replace(said, **texts)


class FeedbackWriter:
    """Appends feedback in a thread; `written` and `refused` are counts since the start.

    `mask` cleans free text before it is written; default: personal data, as captured texts are.
    """

    def __init__(self, folder: Path, mask: Callable[[str], str] | None = None) -> None:
        self.folder, self.mask = folder, mask
        self.written = self.refused = 0
        self._pending = 0
        self._turn = asyncio.Lock()
        self._known: dict[str, None] = {}  # names written lately, oldest first

    async def add(self, said: Feedback) -> None:
        """Returns when it is written. Raises RequestRefused (503) when it cannot be."""
        if said.feedback in self._known:
            return
        if self._pending >= MAX_PENDING:
            raise self._refuse("Too much feedback is waiting to be written")
        self._pending += 1
        try:
            async with self._turn:
                await asyncio.get_running_loop().run_in_executor(None, self.write, said)
        except OSError as error:
            log.error("feedback cannot be written to %s (%s)", self.folder, error.strerror or error)
            raise self._refuse("Feedback cannot be written at present") from error
        finally:
            self._pending -= 1
        self.written += 1
        self._known[said.feedback] = None
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]

    def write(self, said: Feedback) -> None:
        """Appends one whole line or none. Raises OSError."""
        line = orjson.dumps(masked(said, self.mask or _personal()), option=orjson.OPT_APPEND_NEWLINE)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{time.strftime('%Y%m%d-%H', time.gmtime(said.ts))}-{os.getpid()}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            size = os.fstat(file).st_size
            if size + len(line) > SEGMENT_BYTES:
                raise OSError(0, f"{path.name} holds its {SEGMENT_BYTES} bytes")
            if os.write(file, line) != len(line):
                os.ftruncate(file, size)
                raise OSError(0, "there was room for half a line only")
        finally:
            os.close(file)

    def _refuse(self, message: str) -> RequestRefused:
        self.refused += 1
        return RequestRefused(503, message, "feedback_unavailable", headers=b"retry-after: 5\r\n")


def answer_of(said: Feedback) -> bytes:
    """The body of the answer: what was understood."""
    return orjson.dumps({"id": said.feedback, "object": "feedback", "request": said.id, "score": said.score, "label": said.label})


def read_feedback(folder: Path, since: float = 0.0, until: float = float("inf")) -> Iterator[Feedback]:
    """Feedback with since ≤ ts < until (seconds since the epoch) in order of its files, each said thing once; half lines are skipped."""
    first = time.strftime("%Y%m%d-%H", time.gmtime(max(since, 0.0)))
    seen: set[str] = set()
    for path in sorted(folder.glob("*.jsonl")):
        if path.name[:11] < first:
            continue
        with path.open("rb") as file:
            for line in file:
                said = parsed_feedback(line)
                if said is not None and since <= said.ts < until and said.feedback not in seen:
                    seen.add(said.feedback)
                    yield said


def _personal() -> Callable[[str], str]:
    from penstock.screening import mask

    return mask


def parsed_feedback(line: bytes) -> Feedback | None:
    """One line of a file; None for one that was cut short."""
    try:
        value = orjson.loads(line)
        return Feedback(**{field.name: value[field.name] for field in fields(Feedback) if field.name in value})
    except (orjson.JSONDecodeError, TypeError):
        return None
