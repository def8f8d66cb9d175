"""The reference stage: held-out rows through the bundle and the features, as sketches with limits. No text of theirs is kept.

Texts are masked as live ones are, so that masking is no drift; the bundle is asked about them as they are, as live.
Signals that the dataset says nothing of (metadata, lengths of answers) are learnt from the first live windows instead.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import DataUnusable, Interrupted, ReplicaFailed
from penstock.engines.contract import Classified, ClassifyRequest, Engine
from penstock.monitoring.drift.calibrate import DRAWS, calibrated
from penstock.monitoring.drift.files import write_reference
from penstock.monitoring.drift.standard import Asked
from penstock.spec.monitor import stored
from penstock.spec.steps import ReferenceConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.reference.features import CUT, MOST_CHARS, Looked, column
from penstock.stages.reference.vectors import open_vectors

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS, LEAST_ROWS, WINDOWS = 8192, 4096, 8
SEED, TEXTS_A_REQUEST = 7, 64
Opener = Callable[[Path], Engine]


def _steady_engine(bundle: Path) -> Engine:
    """One stream: with several, a request is split by which is free, and sums differ in their last bits."""
    from penstock.engines.bundle_file import read_bundle
    from penstock.engines.table import open_engine

    return open_engine(bundle, settings={"streams": 1} if read_bundle(bundle).engine == "openvino-encoder" else {})


@dataclass(frozen=True, slots=True)
class ReferenceStage:
    """Inputs `bundle`, `dataset` and, for embeddings, `embedder`. Output `reference`."""

    open_engine: Opener = _steady_engine
    draws: int = DRAWS
    name: str = "reference"
    version: str = "1"

    def run(self, config: ReferenceConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        """Raises DataUnusable when there are too few held-out rows for limits, Interrupted."""
        everything = [Asked.entry(entry) for entry in config.drift]
        asked = [one for one, entry in zip(everything, config.drift, strict=True) if stored(entry, config.task)]
        table, names = _held_out(inputs.folder("dataset"), max(one.window for one in asked))
        context.log(f"{table.height:,} held-out rows as the reference of {', '.join(one.signal for one in asked)}")
        rows = _looked(table, names, config.mask)
        signals = {one.signal for one in asked}
        if any(signal.startswith(("drift.output.", "drift.feedback.")) for signal in signals):
            texts = table["text"].to_list()
            rows = asyncio.run(self._answered(inputs.folder("bundle"), texts, rows, context))
        about: dict[str, Any] = {"task": config.task, "rows": len(rows), "masked": config.mask}
        if "drift.embedding" in signals:
            rows, about["embedder"] = _embedded(config, rows, inputs, context)
        _tell(context, len(rows), len(rows))
        values = {signal: column(signal, rows) for signal in sorted(signals)}
        reference = replace(calibrated(values, asked, everything, draws=self.draws), about=about)
        write_reference(outputs.folder("reference", "reference"), reference)
        outputs.describe("reference", task=config.task, rows=len(rows), signals=sorted(signals))
        for signal, standard in sorted(reference.standards.items()):
            limits = ", ".join(f"{part.detector} {part.limit:.4g}" for part in standard.parts)
            context.log(f"{signal}: limit {limits} in windows of {standard.asked.window}")
        return {"reference.rows": float(len(rows))}

    async def _answered(self, bundle: Path, texts: Sequence[str], rows: list[Looked], context: Context) -> list[Looked]:
        """With the label and confidence of the bundle, and whether the label is the right one."""
        engine = self.open_engine(bundle)
        try:
            found: dict[int, tuple[str, float]] = {}
            order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
            for start in range(0, len(order), TEXTS_A_REQUEST):
                part = order[start : start + TEXTS_A_REQUEST]
                found.update(zip(part, await _best(engine, [texts[row] for row in part]), strict=True))
                _tell(context, len(found), len(texts))
        finally:
            await engine.close()
        return [
            replace(row, label=label, confidence=confidence, wrong=label != row.truth)
            for row, (label, confidence) in zip(rows, (found[at] for at in range(len(rows))), strict=True)
        ]


async def _best(engine: Engine, texts: Sequence[str]) -> list[tuple[str, float]]:
    last: object = None
    async for chunk in engine.generate(ClassifyRequest(texts, top_k=1)):
        last = chunk
    if not isinstance(last, Classified) or len(last.rows) != len(texts):
        raise ReplicaFailed(f"the engine answered {len(texts)} texts to classify with {type(last).__name__}")
    return [(str(pairs[0][0]), float(pairs[0][1])) for pairs in last.rows]


def _held_out(dataset: Path, window: int) -> tuple[pl.DataFrame, Sequence[str]]:
    """Test rows in an order of chance, then validation rows; no more than limits gain from. Raises DataUnusable when there are none."""
    import polars as pl

    wanted = min(MOST_ROWS, max(LEAST_ROWS, WINDOWS * window))
    parts, count = [], 0
    for split in ("test", "validation"):
        path = dataset / f"{split}.parquet"
        if path.is_file() and count < wanted:
            part = pl.read_parquet(path).sample(fraction=1.0, shuffle=True, seed=SEED)[: wanted - count]
            parts.append(part)
            count += part.height
    if not count:
        raise DataUnusable("the dataset has neither test nor validation rows: there is nothing that live requests could be compared with")
    labels = dataset / "labels.json"
    return pl.concat(parts), json.loads(labels.read_bytes()) if labels.is_file() else []


def _looked(table: pl.DataFrame, names: Sequence[str], mask: bool) -> list[Looked]:
    from penstock.screening import mask as masked

    texts = [text[:MOST_CHARS] for text in table["text"].to_list()]
    clean = [masked(text) for text in texts] if mask else texts
    truth = [names[label] for label in table["label"].to_list()] if "label" in table.columns else [None] * len(texts)
    ids = table["id"].to_list()
    return [Looked(row, text[:CUT], len(text), truth=label) for row, text, label in zip(ids, clean, truth, strict=True)]


def _embedded(config: ReferenceConfig, rows: list[Looked], inputs: Inputs, context: Context) -> tuple[list[Looked], Mapping[str, Any]]:
    vectors = open_vectors(inputs.folder("embedder") if config.embedder else None, context.threads)
    hashed = "embedding by hashed words: the packaged sentence encoder is not installed"
    context.log("embedding by a sentence encoder" if config.embedder else hashed)
    found: list[Looked] = []
    for start in range(0, len(rows), 512):
        part = rows[start : start + 512]
        found += [replace(row, vector=vector) for row, vector in zip(part, vectors.of([row.text or "" for row in part]), strict=True)]
        _tell(context, len(found), len(rows))
    return found, {"name": vectors.name, "digest": inputs.digest("embedder") if config.embedder else None}


def _tell(context: Context, done: int, total: int) -> None:
    context.progress(done, total, "rows")
    if context.stopping():
        raise Interrupted(f"the reference was stopped after {done:,} of {total:,} rows")
