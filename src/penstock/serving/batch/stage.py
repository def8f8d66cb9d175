"""The step of a batch: rows of a file through a replica of the bundle, part by part; finished parts survive a kill.

Not covered: several replicas at once (one uses every core), parts on several machines.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import Interrupted, StepFailed
from penstock.core.files import write_atomic
from penstock.serving.batch.asking import Asker
from penstock.serving.batch.columns import answer_columns, check
from penstock.serving.batch.output import write_output
from penstock.serving.batch.parts import Parts
from penstock.serving.batch.replica import OwnReplica
from penstock.serving.batch.rows import columns_of, read_rows
from penstock.spec.steps import PredictConfig


@dataclass(frozen=True, slots=True)
class Work:
    """A batch in its scratch folder, whoever answers the rows: `total` rows of `source`, `parts` of them finished."""

    source: Path
    columns: Sequence[str]
    parts: Parts
    total: int


def opened(config: PredictConfig, inputs: Any, context: Any) -> Work:
    """Begins, or goes on. Raises BadInput for a file that cannot be asked so."""
    source = _named(inputs.external(config.digest), config.file_name, context.scratch)
    columns = columns_of(source)
    check(config, columns)
    parts = Parts(context.scratch / "parts")
    parts.folder.mkdir(parents=True, exist_ok=True)
    return Work(source, columns, parts, _total(source, context.scratch / "total"))


def closed(work: Work, config: PredictConfig, inputs: Any, outputs: Any) -> Mapping[str, float]:
    """Once every part is finished. Output `predictions`: predictions.jsonl, .csv or .parquet in the order of the input, failures.jsonl
    where rows failed."""
    folder = outputs.folder("predictions", "predictions")
    made = answer_columns(config) if config.form == "rows" else ("id", "custom_id", "response", "error")
    written = config.keep or (*(work.columns if config.join and config.form == "rows" else ()), *made)
    failed = write_output(folder, config.output, work.parts.lines(), written, config.prefix)
    outputs.describe("predictions", rows=work.total, failed=failed, bundle=inputs.digest("bundle"), input=config.digest)
    return {"rows": float(work.total), "failed": float(failed)}


class PredictStage:
    name, version = "predict", "1"

    def run(self, config: PredictConfig, inputs: Any, outputs: Any, context: Any) -> Mapping[str, float]:
        """As stages/contract.py says (packages of one floor do not import each other, so its types are not named here)."""
        work = opened(config, inputs, context)
        asyncio.run(_answered(config, work.source, work.parts, inputs, context, work.total))
        return closed(work, config, inputs, outputs)


def _named(path: Path, name: str, scratch: Path) -> Path:
    """The file under a name whose ending tells its format: what is fetched may have none."""
    if path.suffix == Path(name).suffix:
        return path
    link = scratch / f"input{Path(name).suffix}"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    return link


def _total(source: Path, known: Path) -> int:
    """Rows of the file: counted once, for progress and for the end."""
    if known.exists():
        return int(json.loads(known.read_bytes()))
    count = sum(1 for _ in read_rows(source))
    write_atomic(known, json.dumps(count).encode())
    return count


async def _answered(config: PredictConfig, source: Path, parts: Parts, inputs: Any, context: Any, total: int) -> None:
    """Fills `parts` to the end. Raises Interrupted when asked to stop, StepFailed when too many rows failed."""
    finished = parts.finished()
    done, failed = sum(part.rows for part in finished), sum(part.failed for part in finished)
    if done:
        context.log(f"{done:,} of {total:,} rows were answered before; going on after them")
    context.progress(done, total, "rows", failed=failed)
    refuse(failed, config, parts)
    if done >= total:
        return
    spec = {
        "id": "batch",
        "bundle": str(inputs.folder("bundle")),
        "digest": inputs.digest("bundle"),
        "model": config.name,
        "version": "batch",
        "engine_class": config.engine_class,
        "limits": {"max_body_bytes": 2 * config.max_payload_bytes + (1 << 20)},
    }
    rows = read_rows(source, done)
    async with OwnReplica(spec, context.scratch / "replica", config.concurrency) as replica:
        asker = Asker(replica, config)
        while shard := list(itertools.islice(rows, config.rows_per_part)):
            part = parts.write(await asker.part(shard))
            done, failed = done + part.rows, failed + part.failed
            context.progress(done, total, "rows", failed=failed)
            refuse(failed, config, parts)
            if context.stopping() and done < total:
                raise Interrupted(f"the batch was stopped after {done:,} of {total:,} rows")


def refuse(failed: int, config: PredictConfig, parts: Parts) -> None:
    """Raises StepFailed when more rows failed than may."""
    if config.max_failures is not None and failed > config.max_failures:
        first = next(line for line in parts.lines(whole=False) if line["error"])
        raise StepFailed(
            f"{failed:,} rows failed, more than the {config.max_failures:,} that may; the first is row {first['row']}: {first['error']}",
            remedy="Correct the rows, or allow more with --max-failures. Answered parts are kept.",
        )
