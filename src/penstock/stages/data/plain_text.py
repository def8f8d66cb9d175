"""Plain text: a whole file is one document."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core.errors import BadInput, SourceUnreadable
from penstock.stages.data.rows import Batch, Collector, Wanted
from penstock.stages.data.survey import Readable


def read_text(file: Readable, wanted: Wanted) -> Iterator[Batch]:
    """One row. Raises when a label is wanted, since plain text has none."""
    if wanted.label is not None:
        raise BadInput(
            f"{file.name} is plain text, which has no labels", remedy="Set `format:` if it is CSV or JSON Lines, or give another source."
        )
    text = file.path.read_bytes().decode("utf-8", "surrogateescape")
    if not file.clean:
        at = next(i for i, c in enumerate(text) if "\udc80" <= c <= "\udcff")
        raise SourceUnreadable(
            f"{file.name} is not UTF-8 throughout: line {text.count(chr(10), 0, at) + 1} holds other bytes",
            remedy="Name its `encoding` in the file.",
        )
    gathered = Collector(wanted)
    gathered.offer(1, text.replace("\r\n", "\n").replace("\r", "\n"), None, text[:1000])
    yield gathered.take()
