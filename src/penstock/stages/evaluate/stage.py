"""The evaluate stage: asks the bundle about held-out rows, through the engine that serves it, and writes evidence and report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.digests import canonical
from penstock.core.errors import BadInput, DataUnusable
from penstock.engines.contract import ClassifyRequest, Engine, GenerateRequest, Request
from penstock.spec.steps import EvaluateConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.evaluate import asking, classification, latency, likelihood
from penstock.stages.evaluate.intervals import Interval
from penstock.stages.evaluate.report import Facts, write_report

if TYPE_CHECKING:
    import polars as pl

Opener = Callable[[Path, Mapping[str, Any]], Engine]  # bundle folder, settings of its engine

CLASSIFICATION = ("accuracy", "precision", "recall", "macro_f1", "micro_f1", "weighted_f1", "calibration", "latency")
GENERATION = ("perplexity", "bits_per_character", "latency")
SAMPLES = 6
SAMPLE_TOKENS = 96
PROMPT_CHARACTERS = 120
LATENCY_TOKENS = 32
DIGITS = 10  # kept of a metric: sums in another order (more threads) differ only beyond


# An engine with several streams splits a request by which stream is free, and sums in another order each time.
STEADY: Mapping[str, Mapping[str, Any]] = {"openvino-encoder": {"streams": 1}}


def _serving_engine(bundle: Path, settings: Mapping[str, Any]) -> Engine:
    from penstock.engines.table import open_engine

    return open_engine(bundle, settings=settings)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The held-out rows and which split they are."""

    split: str
    table: pl.DataFrame


@dataclass(frozen=True, slots=True)
class EvaluateStage:
    """Returns flat metrics: `accuracy`, `accuracy.low`, `accuracy.high`, …, `latency.p95_ms`, `interval.confidence`."""

    open_engine: Opener = _serving_engine
    name: str = "evaluate"
    version: str = "1"

    def run(self, config: EvaluateConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        """Raises BadInput (a metric that does not fit the task), DataUnusable (no held-out rows), Interrupted."""
        fitting = CLASSIFICATION if config.task == "text-classification" else GENERATION
        if strange := [name for name in config.evaluate.metrics if name not in fitting]:
            raise BadInput(f"evaluate.metrics: {strange[0]} does not fit {config.task} (do: {', '.join(fitting)})")
        rows = _held_out(inputs.folder("dataset"))
        context.log(f"evaluating {rows.table.height:,} {rows.split} rows on the bundle's own bytes")
        return asyncio.run(self._evaluate(config, rows, inputs, outputs, context))

    async def _evaluate(self, config: EvaluateConfig, rows: _Rows, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        bundle = inputs.folder("bundle")
        work = _classification if config.task == "text-classification" else _generation
        described = json.loads((bundle / "bundle.json").read_bytes())
        settings = STEADY.get(described.get("engine"), {})
        async with contextlib.AsyncExitStack() as opened:
            engine = self.open_engine(bundle, settings)
            opened.push_async_callback(engine.close)
            evidence = await work(config, engine, rows, inputs, context)
            if settings:
                await opened.aclose()
                engine = self.open_engine(bundle, {})
                opened.push_async_callback(engine.close)
            timed = await _latency(config, engine, rows, context)
            samples = await _samples(engine, rows) if config.task == "text-generation" else []
        wanted = _wanted(config)
        intervals = {name: found for name, found in evidence.intervals.items() if _family(name) in wanted}
        _write_evidence(outputs, config, rows, intervals, evidence)
        timings = timed.metrics() if timed else {}
        facts = Facts(
            name=described.get("name", "a bundle"),
            config=config,
            split=rows.split,
            rows=evidence.predictions.height,
            bundle_digest=inputs.digest("bundle"),
            dataset_digest=inputs.digest("dataset"),
            engine=engine.info,
            intervals=intervals,
            timings=timings,
            single_ms=tuple(timed.single_ms) if timed else (),
            blocks=_block_bits(evidence.predictions),
            samples=tuple(samples),
        )
        write_report(outputs.folder("report", "report"), facts, evidence.answers, rows.table["text"].to_list())
        return {**_flat(intervals), **timings, "interval.confidence": config.evaluate.confidence}


@dataclass(frozen=True, slots=True)
class _Evidence:
    intervals: Mapping[str, Interval]
    predictions: pl.DataFrame
    answers: classification.Answers | None = None


def _held_out(dataset: Path) -> _Rows:
    import polars as pl

    for split in ("test", "validation"):
        path = dataset / f"{split}.parquet"
        table = pl.read_parquet(path) if path.exists() else pl.DataFrame()
        if table.height:
            return _Rows(split, table)
    raise DataUnusable("the dataset has neither test nor validation rows, so nothing can be measured")


async def _classification(config: EvaluateConfig, engine: Engine, rows: _Rows, inputs: Inputs, context: Context) -> _Evidence:
    import numpy as np
    import polars as pl

    known: list[str] = json.loads((inputs.folder("dataset") / "labels.json").read_text("utf-8"))
    names = [*known, *(name for name in engine.info.labels if name not in known)]
    probabilities = await asking.classify(engine, rows.table["text"].to_list(), names, context)
    answers = classification.Answers(rows.table["id"].to_list(), rows.table["label"].to_numpy().astype(np.int64), probabilities, names)
    intervals = classification.metrics_of(answers, config.evaluate.resamples, config.evaluate.confidence)
    columns = {
        "id": answers.ids,
        "label": answers.labels.astype(np.int32),
        "prediction": answers.predictions.astype(np.int32),
        "confidence": answers.confidence,
        "correct": answers.correct,
    }
    return _Evidence(intervals, pl.DataFrame(columns), answers)


async def _generation(config: EvaluateConfig, engine: Engine, rows: _Rows, inputs: Inputs, context: Context) -> _Evidence:  # noqa: ARG001  # one signature for both tasks
    import polars as pl

    pieces = [piece for row, text in rows.table.select("id", "text").iter_rows() for piece in asking.blocks(row, text)]
    scored = await asking.score(engine, pieces, context)
    if not scored:
        raise DataUnusable(f"no {rows.split} row is long enough to predict one token of it")
    intervals = likelihood.metrics_of([block for _, block in scored], config.evaluate.resamples, config.evaluate.confidence)
    columns = {
        "id": [row for row, _ in scored],
        "nats": [round(block.nats, 4) for _, block in scored],
        "tokens": [block.tokens for _, block in scored],
        "characters": [block.characters for _, block in scored],
    }
    return _Evidence(intervals, pl.DataFrame(columns))


async def _latency(config: EvaluateConfig, engine: Engine, rows: _Rows, context: Context) -> latency.Timings | None:
    if "latency" not in _wanted(config):
        return None
    texts = rows.table["text"].to_list()
    chosen = [texts[index % len(texts)] for index in range(config.evaluate.latency_requests)]
    if config.task == "text-classification":
        requests: Sequence[Request] = [ClassifyRequest([text]) for text in chosen]
    else:
        requests = [GenerateRequest(prompt=_prompt(text), max_tokens=LATENCY_TOKENS, temperature=0.0) for text in chosen]
    timed = await latency.measure(engine, requests)
    context.log(f"latency over {len(timed.single_ms)} single requests, throughput over {timed.busy_requests}")
    return timed


async def _samples(engine: Engine, rows: _Rows) -> list[tuple[str, str]]:
    """(prompt, continuation) pairs for the report; drawn with fixed seeds at temperature 0.8."""
    texts = rows.table["text"].to_list()
    found = []
    for seed in range(min(SAMPLES, max(1, len(texts)))):
        text = texts[seed * len(texts) // SAMPLES]
        prompt = _prompt(text)
        request = GenerateRequest(prompt=prompt, max_tokens=SAMPLE_TOKENS, temperature=0.8, seed=seed)
        pieces = [chunk.text async for chunk in engine.generate(request) if hasattr(chunk, "text")]
        found.append((prompt, "".join(pieces)))
    return found


def _block_bits(predictions: pl.DataFrame) -> tuple[float, ...]:
    if "nats" not in predictions.columns:
        return ()
    return tuple((predictions["nats"] / predictions["characters"] / math.log(2)).to_list())


def _prompt(text: str) -> str:
    """The text's beginning, cut after a word."""
    start = text.lstrip()[:PROMPT_CHARACTERS]
    return start.rpartition(" ")[0] or start or "\n"


def _wanted(config: EvaluateConfig) -> Sequence[str]:
    return config.evaluate.metrics or (CLASSIFICATION if config.task == "text-classification" else GENERATION)


def _family(name: str) -> str:
    """The name in the file that asks for a metric: `calibration.ece` comes with `calibration`."""
    return "bits_per_character" if name == "nats_per_character" else name.partition(".")[0]


def _flat(intervals: Mapping[str, Interval]) -> dict[str, float]:
    ends = ((name, {"": found.value, ".low": found.low, ".high": found.high}) for name, found in intervals.items())
    return {f"{name}{end}": value for name, three in ends for end, value in three.items()}


def _write_evidence(outputs: Outputs, config: EvaluateConfig, rows: _Rows, intervals: Mapping[str, Interval], evidence: _Evidence) -> None:
    """Only what follows from bundle, dataset and config: no timings, so that equal inputs give equal bytes."""
    folder = outputs.folder("evaluation", "evaluation")
    metrics = {name: {end: round(getattr(i, end), DIGITS) for end in ("value", "low", "high")} for name, i in intervals.items()}
    (folder / "metrics.json").write_bytes(canonical(metrics))
    evidence.predictions.write_parquet(folder / "predictions.parquet", compression="zstd", statistics=False)
    if evidence.answers is not None:
        (folder / "confusion.json").write_bytes(canonical(classification.confusion(evidence.answers)))
    outputs.describe("evaluation", task=config.task, split=rows.split, rows=evidence.predictions.height)
