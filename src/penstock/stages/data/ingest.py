"""Sources into the spill: each is surveyed, read fast, and read again with care where it has an oddity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from penstock.core.errors import BadInput, Interrupted, SourceUnreadable
from penstock.spec.pipeline import Source
from penstock.spec.steps import ResolvedSource
from penstock.stages.contract import Context
from penstock.stages.data.columnar import read_parquet
from penstock.stages.data.delimited import read_delimited
from penstock.stages.data.index import Spilled
from penstock.stages.data.json_rows import read_json, read_jsonl
from penstock.stages.data.normal import content
from penstock.stages.data.plain_text import read_text
from penstock.stages.data.rows import Batch, NeedsCare, Wanted
from penstock.stages.data.survey import Readable, survey

ENCODING_LIMIT = 0.1  # share of rows with undecodable bytes above which the encoding is taken to be wrong


def ingest(path: Path, given: ResolvedSource, origin: int, spilled: Spilled, context: Context) -> int:
    """Adds a source's rows to the spill; returns the number of good rows. Raises SourceUnreadable, ColumnMissing, BadInput."""
    name = display_name(given)
    wanted = Wanted(name, given.source.text, _label(given.source, name, spilled.keep_lines))
    file = survey(path, given.file_name, given.source, spilled.folder)
    good, bad = _drain(file, wanted, given.source, origin, spilled, context)
    if good == 0 and bad == 0:
        raise SourceUnreadable(f"{name} has no rows", remedy="Give a file with rows below its header.")
    undecodable = sum(1 for row in spilled.bad[-bad:] if bad and "encoding" in row.reason)
    if not file.clean and undecodable > ENCODING_LIMIT * (good + bad):
        raise SourceUnreadable(
            f"{name} is not {file.encoding}: {undecodable:,} of {good + bad:,} rows hold bytes that it cannot explain",
            remedy="Name the source's true `encoding` in the file (often cp1252 or latin-1).",
        )
    part = f", of which {given.source.sample:.3g} are taken" if given.source.sample is not None else ""
    context.log(f"{name}: {good:,} rows ({file.format}, {file.encoding}){part}")
    if bad:
        context.log(f"{name}: {bad:,} of {good + bad:,} rows set aside in quarantine.parquet; first: {spilled.bad[-bad].reason}")
    if file.path != path:
        file.path.unlink()
    return good


def display_name(given: ResolvedSource) -> str:
    """How a source is called in messages, quarantine and card: its entry or file name, never where it lay."""
    return given.source.dataset or given.file_name


def _label(source: Source, name: str, generation: bool) -> str | None:
    if generation:
        return None
    if source.label is None:
        raise BadInput(f"{name}: text-classification needs `label:`, the name of the column that holds the classes")
    return source.label


def _drain(file: Readable, wanted: Wanted, source: Source, origin: int, spilled: Spilled, context: Context) -> tuple[int, int]:
    mark = spilled.mark()
    for careful in (False, True):
        good = bad = 0
        try:
            for batch in _batches(file, wanted, careful):
                spilled.add(_sampled(batch, source.sample), origin, source.name)
                good, bad = good + batch.rows.height, bad + len(batch.bad)
                context.progress(good + bad, None, "rows")
                if context.stopping():
                    raise Interrupted(f"stopped while reading {wanted.source}, after {good + bad:,} rows")
        except NeedsCare:
            spilled.rewind(mark)
            continue
        return good, bad
    raise AssertionError("the careful reader asked for care")


def _sampled(batch: Batch, share: float | None) -> Batch:
    """The rows whose content falls into the share: the same ones whatever else is taken, more of them for a larger share."""
    if share is None or share >= 1:
        return batch
    edge = int(share * (1 << 64))
    kept = [int.from_bytes(content(text, label)[:8], "big") < edge for text, label in batch.rows.select("text", "label").iter_rows()]
    return Batch(batch.rows.filter(kept), batch.bad)


def _batches(file: Readable, wanted: Wanted, careful: bool) -> Iterator[Batch]:
    if file.format in ("csv", "tsv"):
        return read_delimited(file, wanted, careful)
    readers = {"jsonl": read_jsonl, "json": read_json, "parquet": read_parquet, "text": read_text}
    return readers[file.format](file, wanted)
