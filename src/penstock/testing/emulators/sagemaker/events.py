"""Amazon event stream: the framing of streamed answers (application/vnd.amazon.eventstream)."""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping

KIND = "application/vnd.amazon.eventstream"


def message(payload: bytes, headers: Mapping[str, str]) -> bytes:
    """Lengths and their checksum, headers (all strings, type 7), payload, checksum of all."""
    told = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(told) + len(payload), len(told))
    body = prelude + struct.pack("!I", crc32(prelude)) + told + payload
    return body + struct.pack("!I", crc32(body))


def part(payload: bytes) -> bytes:
    return message(payload, {":message-type": "event", ":event-type": "PayloadPart", ":content-type": "application/octet-stream"})


def failure(kind: str, payload: bytes) -> bytes:
    return message(payload, {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"})
