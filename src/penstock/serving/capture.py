"""Texts of requests and answers for records: bytes are kept by reference while a request runs, read and masked later by the record writer.

Which requests: a share by the hash of the request's id, so that a copy or a retry with the same id is decided alike. An answer is kept
up to MAX_OUTPUT bytes as it went to the client (events of a stream joined), a text up to MAX_CHARS characters: the beginning of a prompt,
the end of a conversation. What cannot be masked is not kept. Not covered: images, audio, token ids, embeddings that were answered.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from penstock.serving.snapshot import Capture

MAX_OUTPUT, MAX_CHARS = 256 << 10, 16_384


class Captured:
    """What is kept of one request while it runs. `size` bytes are held by it."""

    __slots__ = ("body", "masked", "parts", "size")

    def __init__(self, body: bytes, masked: bool = True) -> None:
        self.body, self.masked = body, masked
        self.parts: list[bytes] = []
        self.size = len(body)

    def add(self, data: bytes) -> None:
        """A piece of the answer, as it goes to the client."""
        if self.size - len(self.body) < MAX_OUTPUT:
            self.parts.append(data)
            self.size += len(data)

    def texts(self, mask: Callable[[str], str] | None = None) -> tuple[str | None, str | None]:
        """What was asked and what was answered, masked where that is wanted. For a thread: this takes milliseconds for long texts."""
        found = asked(self.body), answered(b"".join(self.parts))
        if not self.masked:
            return found
        clean = mask or _personal()
        return tuple(None if text is None else clean(text) for text in found)  # type: ignore[return-value]  # two in, two out


def captured(capture: Capture | None, ident: str, body: bytes) -> Captured | None:
    """Something to collect in, when this request is one of those that are kept."""
    if capture is None or (capture.sample < 1 and zlib.crc32(ident.encode()) >= capture.sample * 0x1_0000_0000):
        return None
    return Captured(body, capture.mask)


def asked(body: bytes) -> str | None:
    """The text of a request: `prompt`, `input`, or its messages as lines `role: text`."""
    value = _object(body)
    if value is None:
        return None
    if isinstance(messages := value.get("messages"), list):
        lines = [f"{m.get('role')}: {_content(m.get('content'))}" for m in messages if isinstance(m, dict)]
        return "\n".join(lines)[-MAX_CHARS:]
    text = value.get("prompt", value.get("input"))
    if isinstance(text, list):
        text = "\n".join(item for item in text if isinstance(item, str)) or None
    return text[:MAX_CHARS] if isinstance(text, str) else None


def answered(body: bytes) -> str | None:
    """The text of an answer, whole or streamed: of several choices the first; of a classification its labels, best first."""
    if body[:1] in (b"d", b":", b"e", b"\n"):  # events
        return "".join(_streamed(body))[:MAX_CHARS] or None
    value = _object(body)
    if value is None:
        return None
    if isinstance(value.get("choices"), list):
        text = "".join(_chosen(value))
    elif isinstance(data := value.get("data"), list):
        text = "\n".join(_labels(data))
    else:
        return None
    return text[:MAX_CHARS] or None


def _streamed(body: bytes) -> Iterator[str]:
    for line in body.split(b"\n"):
        if line.startswith(b"data:") and (value := _object(line[5:].strip())) is not None:
            yield from _chosen(value)


def _chosen(value: dict[str, Any]) -> Iterator[str]:
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or choice.get("index", 0) != 0:
            continue
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("content", said.get("text")) if isinstance(said, dict) else None
        if isinstance(text, str):
            yield text


def _labels(data: list[Any]) -> Iterator[str]:
    for item in data:
        labels = item.get("labels") if isinstance(item, dict) else None
        if isinstance(labels, list):
            rows = [each for each in labels if isinstance(each, dict)]
            yield " ".join(f"{row['label']}={row['score']:.3f}" for row in rows if isinstance(row.get("score"), float))


def _content(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return content if isinstance(content, str) else ""


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _personal() -> Callable[[str], str]:
    from penstock.screening import mask

    return mask
