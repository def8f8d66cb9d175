"""What a source's bytes are, before any row is read: format, encoding, and a plain UTF-8 file to read it from.

One pass over the bytes with a fixed buffer: finds empty, binary, truncated and one-endless-line files at once, whatever their
size. Compressed and non-UTF-8 sources are written to scratch as plain UTF-8, so that readers know one form only.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.core.errors import BadInput, SourceUnreadable
from penstock.core.files import told_plainly
from penstock.spec.pipeline import Source
from penstock.stages.data.rows import DOCUMENT_LIMIT, LINE_LIMIT

CHUNK = 4 << 20
SAMPLE = 1 << 20
BOMS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]
MAGIC = {
    b"PK\x03\x04": "a zip archive (or an office document)",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"SQLite format 3": "an SQLite database",
}
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}


@dataclass(frozen=True, slots=True)
class Readable:
    """A source ready to be read. `path` is UTF-8 without a byte-order mark (or Parquet); `even_quotes` says that every quote is paired."""

    path: Path
    name: str
    format: str
    encoding: str
    even_quotes: bool = True
    clean: bool = True  # every byte decoded


def survey(path: Path, file_name: str, source: Source, scratch: Path) -> Readable:
    """Raises SourceUnreadable for empty, truncated, binary, undecodable and endless-line files; reads with bounded memory."""
    head = _head(path, file_name)
    zipped = head.startswith(b"\x1f\x8b")
    inner = file_name.removesuffix(".gz") if zipped else file_name
    if zipped:
        head = _gzip_head(path, file_name)
    if source.format == "parquet" or head.startswith(b"PAR1"):
        return Readable(path, file_name, "parquet", "binary")
    for magic, what in MAGIC.items():
        if head.startswith(magic):
            raise SourceUnreadable(
                f"{file_name} is {what}, not rows of text", remedy="Unpack or export it to CSV, JSONL, Parquet or plain text."
            )
    encoding, skip = _encoding(head, source.encoding, file_name)
    if encoding == "utf-8" and _looks_binary(head):
        odd = sum(1 for byte in head if byte < 32 and byte not in b"\t\n\v\f\r")
        raise SourceUnreadable(
            f"{file_name} is binary: {odd:,} of its first {len(head):,} bytes are control characters, {head.count(0):,} of them NUL"
        )
    form = source.format or _format(inner, head.decode(encoding, "replace"))
    copy = None if encoding == "utf-8" and not zipped and not skip else scratch
    return _walk(path, Readable(path, file_name, form, encoding), zipped, skip, copy)


def _head(path: Path, name: str) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(SAMPLE)
    except OSError as error:
        raise SourceUnreadable(f"{name} cannot be read: {error.strerror}") from error
    if not head:
        raise SourceUnreadable(f"{name} is empty (0 bytes)", remedy="Give a file with rows.")
    return head


def _gzip_head(path: Path, name: str) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            head = file.read1(SAMPLE)
    except (EOFError, OSError, zlib.error) as error:
        raise _truncated(name, error) from error
    if not head:
        raise SourceUnreadable(f"{name} is empty once unpacked")
    return head


def _truncated(name: str, error: Exception) -> SourceUnreadable:
    what = "is truncated: its gzip data ends early" if isinstance(error, EOFError) else f"has damaged gzip data ({error})"
    return SourceUnreadable(f"{name} {what}", remedy="Copy or download the file again.")


def _looks_binary(head: bytes) -> bool:
    control = sum(head.count(bytes([c])) for c in (*range(1, 9), *range(14, 27), 127))
    return head.count(0) > len(head) // 1000 + 8 or control > len(head) // 50 + 8


def _encoding(head: bytes, declared: str | None, name: str) -> tuple[str, int]:
    """Encoding and the length of the byte-order mark to skip. What is declared wins over what is guessed."""
    for mark, encoding in BOMS:
        if head.startswith(mark) and declared is None:
            return encoding, (len(mark) if encoding == "utf-8" else 0)
    if declared is not None:
        try:
            canonical = codecs.lookup(declared).name
        except LookupError as error:
            raise BadInput(
                f"{name}: no encoding is called {declared!r}", remedy="Use a name such as utf-8, latin-1, cp1252, utf-16."
            ) from error
        plain = canonical in ("utf-8", "utf-8-sig", "ascii")
        return ("utf-8", 3 if head.startswith(codecs.BOM_UTF8) else 0) if plain else (canonical, 0)
    if _mostly_utf8(head) or _looks_binary(head):
        return "utf-8", 0
    return _guessed(head, name), 0


def _mostly_utf8(head: bytes) -> bool:
    """True when the sample decodes, or nearly all of its non-ASCII sequences do: then the rest is damage in single rows."""
    text = head.decode("utf-8", "surrogateescape")
    wrong = sum(1 for c in text[:-4] if "\udc80" <= c <= "\udcff")
    return wrong == 0 or wrong * 10 < sum(1 for c in text if c > "\x7f")


def _guessed(head: bytes, name: str) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(head[: 256 << 10]).best()
    if best is None:
        raise SourceUnreadable(
            f"{name} is neither UTF-8 nor any encoding that could be recognised", remedy="Name its `encoding` in the file."
        )
    return codecs.lookup(best.encoding).name


def _format(name: str, head: str) -> str:
    """By suffix; else by what the first lines look like."""
    known = SUFFIXES.get(Path(name).suffix.lower())
    if known is not None:
        return known
    first = head.lstrip()[:1]
    if first == "[":
        return "json"
    if first == "{":
        return "jsonl" if head.lstrip().split("\n", 1)[0].rstrip().endswith("}") else "json"
    lines = [line for line in head.splitlines()[:20] if line]
    for mark, form in (("\t", "tsv"), (",", "csv")):
        counts = {line.count(mark) for line in lines[:-1] or lines}
        if len(lines) > 1 and len(counts) == 1 and counts != {0}:
            return form
    return "text"


def _chunks(path: Path, name: str, zipped: bool, skip: int) -> Iterator[bytes]:
    with gzip.open(path, "rb") if zipped else path.open("rb") as file:
        try:
            file.read(skip)
            while chunk := file.read(CHUNK):
                yield chunk
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _truncated(name, error) from error


def _walk(path: Path, found: Readable, zipped: bool, skip: int, scratch: Path | None) -> Readable:
    """Checks every byte once; writes plain UTF-8 to `scratch` when one is given."""
    decoder = codecs.getincrementaldecoder(found.encoding)("strict")
    quotes, run, offset, clean = 0, 0, skip, True
    target = scratch / "plain" if scratch else None
    out = target.open("wb") if target else io.BytesIO()
    with told_plainly(target or path), out:
        for chunk in _chunks(path, found.name, zipped, skip):
            data = chunk
            if clean or found.encoding != "utf-8":
                try:
                    text = decoder.decode(chunk)
                    data = text.encode() if found.encoding != "utf-8" else chunk
                except UnicodeError as error:
                    if found.encoding != "utf-8":
                        raise _undecodable(found, offset, error) from error
                    clean = False
            quotes += data.count(b'"')
            run = _line_run(data, run, found)
            offset += len(chunk)
            if offset > DOCUMENT_LIMIT and found.format in ("json", "text"):
                raise SourceUnreadable(
                    f"{found.name} is one {found.format} document of more than {DOCUMENT_LIMIT >> 20} MiB; such are held in memory whole",
                    remedy="Cut it into several files, or convert it to JSON Lines.",
                )
            if target:
                out.write(data)
        try:
            decoder.decode(b"", final=True)
        except UnicodeError as error:
            if found.encoding != "utf-8":
                raise _undecodable(found, offset, error) from error
            clean = False
    return Readable(target or path, found.name, found.format, found.encoding, quotes % 2 == 0, clean)


def _undecodable(found: Readable, offset: int, error: UnicodeError) -> SourceUnreadable:
    at = offset + (error.start if isinstance(error, UnicodeDecodeError) else 0)
    return SourceUnreadable(
        f"{found.name} is not {found.encoding}: it cannot be decoded near byte {at:,}", remedy="Name its true `encoding` in the file."
    )


def _line_run(data: bytes, run: int, found: Readable) -> int:
    """Bytes since the last line end. Raises when a line passes LINE_LIMIT (JSON and Parquet have no lines)."""
    if found.format == "json":
        return 0
    ends = (b"\n",) if found.format == "jsonl" else (b"\n", b"\r")
    first = min((at for end in ends if (at := data.find(end)) >= 0), default=-1)
    longest = run + (first if first >= 0 else len(data))
    if longest > LINE_LIMIT:
        raise SourceUnreadable(
            f"{found.name} has a line longer than {LINE_LIMIT >> 20} MiB; that is damage or another format, not rows",
            remedy="Look at the file; split the line, or convert the source to Parquet.",
        )
    last = max(data.rfind(end) for end in ends)
    return run + len(data) if last < 0 else len(data) - last - 1
