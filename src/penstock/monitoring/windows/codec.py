"""The windows of one span of time as bytes, and back; what no encoder of ours can have made is refused, whatever its size.

A frame is a head (magic, version, size of the body, span, checksums of both) and a body: JSON, compressed. A reader hops from head to head
without looking into bodies, and finds the next frame by its magic where a head is damaged.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from penstock.monitoring.windows.sketch import MOST, Sketch
from penstock.monitoring.windows.window import BINS, KINDS, NUMBERS, SKETCHES, Cell, Cells, Window

VERSION = 1
MAGIC = b"\x93PWF"
MAX_BODY, MAX_TEXT, MAX_JSON, MAX_CELLS = 64 << 20, 512, 256 << 20, 1 << 20
_HEAD = struct.Struct("<4sBIddII")  # magic, version, size of the body, start, length, epoch, checksum of the body
_CHECK = struct.Struct("<I")  # of the head
HEAD_BYTES = _HEAD.size + _CHECK.size
_LEVEL = 3


@dataclass(frozen=True, slots=True)
class Span:
    """[start, start + length) in seconds since the epoch. `epoch` tells apart spans that came twice because the clock was set back."""

    start: float
    length: float
    epoch: int = 0

    @property
    def end(self) -> float:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Frame:
    span: Span
    cells: Cells = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Head:
    """Of a frame in a file: its body lies from `at` to `end`, which may be beyond the end of the file."""

    span: Span
    at: int
    end: int
    checksum: int

    def read(self, body: bytes) -> Frame:
        """Raises ValueError for a body that was cut off, damaged, or never ours."""
        if len(body) != self.end - self.at or zlib.crc32(body) != self.checksum:
            raise ValueError("a frame is cut off or damaged")
        return Frame(self.span, _body(body))


def encode(frame: Frame) -> bytes:
    body = zlib.compress(orjson.dumps([_cell_out(cell, window) for cell, window in frame.cells.items()]), _LEVEL)
    span = frame.span
    head = _HEAD.pack(MAGIC, VERSION, len(body), span.start, span.length, span.epoch, zlib.crc32(body))
    return head + _CHECK.pack(zlib.crc32(head)) + body


def decode(data: bytes) -> Frame:
    """Of exactly one frame. Raises ValueError."""
    head = read_head(data[:HEAD_BYTES], 0)
    if head is None:
        raise ValueError("no frame of windows")
    return head.read(data[HEAD_BYTES:])


def read_head(data: bytes, at: int) -> Head | None:
    """From the HEAD_BYTES that lie at `at` of a file; None where no frame begins."""
    if len(data) != HEAD_BYTES:
        return None
    magic, version, size, start, length, epoch, checksum = _HEAD.unpack_from(data)
    if magic != MAGIC or version != VERSION or size > MAX_BODY or zlib.crc32(data[: _HEAD.size]) != _CHECK.unpack_from(data, _HEAD.size)[0]:
        return None
    if not (math.isfinite(start) and abs(start) < MOST and 0 < length < MOST):
        return None
    return Head(Span(start, length, epoch), at + HEAD_BYTES, at + HEAD_BYTES + size, checksum)


def _cell_out(cell: Cell, window: Window) -> list[Any]:
    used = {NUMBERS[place]: _short(window.numbers[place]) for place in np.flatnonzero(window.numbers)}
    sketches = {name: sketch.as_json() for name, sketch in zip(SKETCHES, window.sketches, strict=True) if sketch.counts.size}
    confidences = {str(place): int(window.confidences[place]) for place in np.flatnonzero(window.confidences)}
    return [*cell, used, sketches, window.labels, confidences]


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else float(value)


def _body(body: bytes) -> Cells:
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(body, MAX_JSON)
        value = orjson.loads(text) if unpacking.eof else None
    except (zlib.error, orjson.JSONDecodeError) as error:
        raise ValueError(f"a frame's body cannot be read ({error})") from error
    if not isinstance(value, list) or len(value) > MAX_CELLS:
        raise ValueError("a frame's body is cut off, or far too large")
    cells = dict(_cell_in(each) for each in value)
    if len(cells) != len(value):
        raise ValueError("a frame names a cell twice")
    return cells


def _cell_in(value: Any) -> tuple[Cell, Window]:
    if not isinstance(value, list) or len(value) != 8:
        raise ValueError("a cell has eight parts")
    kind, version, replica, part, numbers, sketches, labels, confidences = value
    if kind not in KINDS or not all(isinstance(each, str) and len(each) <= MAX_TEXT for each in (version, replica, part)):
        raise ValueError("a cell is named by a kind and three short texts")
    if not all(isinstance(each, dict) for each in (numbers, sketches, labels, confidences)):
        raise ValueError("what a cell holds is told by names")
    window = Window(sketches=tuple(Sketch.parse(sketches.pop(name, [])) for name in SKETCHES))
    for place, name in enumerate(NUMBERS):
        window.numbers[place] = _number(numbers.pop(name, 0))
    for place in range(BINS):
        window.confidences[place] = _count(confidences.pop(str(place), 0))
    if numbers or sketches or confidences:
        raise ValueError("a cell holds something that has no name here")
    window.labels = {label: _count(count) for label, count in labels.items()}
    return Cell(kind, version, replica, part), window


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < MOST:
        raise ValueError(f"{value!r:.40} is no number of a window")
    return float(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST:
        raise ValueError(f"{value!r:.40} is no count")
    return value
