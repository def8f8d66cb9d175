"""The evaluate stage: asks the bundle about held-out rows, through the engine that serves it, and writes evidence and report."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import ArtifactMissing, BadInput
from penstock.engines.contract import ClassifyRequest, Engine, GenerateRequest, Request, Text
from penstock.spec.steps import EvaluateConfig
from penstock.stages.contract import Context, Inputs, Metrics, Outputs
from penstock.stages.evaluate import evidence, latency
from penstock.stages.evaluate.evidence import Evidence, HeldOut
from penstock.stages.evaluate.intervals import Interval
from penstock.stages.evaluate.report import LATENCY_TOKENS, Facts, write_report

Opener = Callable[[Path, Mapping[str, Any]], Engine]  # bundle folder, settings of its engine

CLASSIFICATION = ("accuracy", "precision", "recall", "macro_f1", "micro_f1", "weighted_f1", "calibration", "latency")
GENERATION = ("perplexity", "bits_per_character", "latency")
SAMPLES, SAMPLE_TOKENS, PROMPT_BYTES = 6, 96, 120

# An engine with several streams splits a request by which stream is free, and sums in another order each time.
STEADY: Mapping[str, Mapping[str, Any]] = {"openvino-encoder": {"streams": 1}}


def _serving_engine(bundle: Path, settings: Mapping[str, Any]) -> Engine:
    from penstock.engines.table import open_engine

    return open_engine(bundle, settings=settings)


@dataclass(frozen=True, slots=True)
class EvaluateStage:
    """Returns flat metrics: `accuracy`, `accuracy.low`, `accuracy.high`, …, `latency.p95_ms`, `interval.confidence`."""

    open_engine: Opener = _serving_engine
    name: str = "evaluate"
    version: str = "1"

    def run(self, config: EvaluateConfig, inputs: Inputs, outputs: Outputs, context: Context) -> Metrics:
        """Raises BadInput (a metric that does not fit the task), DataUnusable (no held-out rows), ArtifactMissing, Interrupted."""
        fitting = _fitting(config)
        if strange := [name for name in config.evaluate.metrics if name not in fitting]:
            raise BadInput(f"evaluate.metrics: {strange[0]} does not fit {config.task} (do: {', '.join(fitting)})")
        rows = evidence.held_out(inputs.folder("dataset"))
        context.log(f"evaluating {rows.table.height:,} {rows.split} rows on the bundle's own bytes")
        found, facts = asyncio.run(self._asked(config, rows, inputs, context))
        evidence.write_evidence(outputs.folder("evaluation", "evaluation"), found, facts.intervals)
        outputs.describe("evaluation", task=config.task, split=rows.split, rows=found.predictions.height)
        write_report(outputs.folder("report", "report"), facts, found.answers, found.texts)
        return {**_flat(facts.intervals), **facts.timings, "interval.confidence": config.evaluate.confidence}

    async def _asked(self, config: EvaluateConfig, rows: HeldOut, inputs: Inputs, context: Context) -> tuple[Evidence, Facts]:
        """All that needs the engine: the evidence on steady settings, then latency and samples on the settings that serve."""
        bundle = inputs.folder("bundle")
        described = _description(bundle)
        settings = STEADY.get(described.get("engine", ""), {})
        gather = evidence.classified if config.task == "text-classification" else evidence.scored
        async with contextlib.AsyncExitStack() as opened:
            engine = self.open_engine(bundle, settings)
            opened.push_async_callback(engine.close)
            found = await gather(config.evaluate, engine, rows, context)
            if settings:
                await opened.aclose()
                engine = self.open_engine(bundle, {})
                opened.push_async_callback(engine.close)
            timed = await _latency(config, engine, found.texts, context)
            samples = await _samples(engine, found.texts) if config.task == "text-generation" else ()
        facts = Facts(
            name=described.get("name", "a bundle"),
            config=config,
            split=rows.split,
            rows=found.predictions.height,
            bundle_digest=inputs.digest("bundle"),
            dataset_digest=inputs.digest("dataset"),
            engine=engine.info,
            intervals={name: interval for name, interval in found.intervals.items() if _family(name) in _wanted(config)},
            timings=timed.metrics() if timed else {},
            single_ms=tuple(timed.single_ms) if timed else (),
            blocks=_block_bits(found),
            samples=samples,
        )
        return found, facts


def _description(bundle: Path) -> Mapping[str, Any]:
    path = bundle / "bundle.json"
    if not path.is_file():
        raise ArtifactMissing(f"{bundle.name} holds no bundle.json, so it cannot be served or measured")
    found: Mapping[str, Any] = json.loads(path.read_bytes())
    return found


def _fitting(config: EvaluateConfig) -> Sequence[str]:
    return CLASSIFICATION if config.task == "text-classification" else GENERATION


def _wanted(config: EvaluateConfig) -> Sequence[str]:
    return config.evaluate.metrics or _fitting(config)


def _family(name: str) -> str:
    """The name in the file that asks for a metric: `calibration.ece` comes with `calibration`, `new.accuracy` with `accuracy`."""
    first, _, rest = name.partition(".")
    if rest and first not in (*CLASSIFICATION, *GENERATION):
        return _family(rest)
    return "bits_per_character" if name == "nats_per_character" else first


def _flat(intervals: Mapping[str, Interval]) -> dict[str, float]:
    ends = ((name, {"": found.value, ".low": found.low, ".high": found.high}) for name, found in intervals.items())
    return {f"{name}{end}": value for name, three in ends for end, value in three.items()}


async def _latency(config: EvaluateConfig, engine: Engine, texts: Sequence[str], context: Context) -> latency.Timings | None:
    if "latency" not in _wanted(config):
        return None
    count = config.evaluate.latency_requests
    chosen = [(texts[index % len(texts)], index // len(texts)) for index in range(2 * count)]
    if config.task == "text-classification":
        requests: Sequence[Request] = [ClassifyRequest([text]) for text, _ in chosen]
    else:
        tokens = _answer_tokens(LATENCY_TOKENS, engine)
        requests = [
            GenerateRequest(prompt=_prompt(_later(text, turn), engine), max_tokens=tokens, temperature=0.0) for text, turn in chosen
        ]
    timed = await latency.measure(engine, requests[:count], requests[count:], context)
    context.log(f"latency over {len(timed.single_ms)} single requests, throughput over {timed.busy_requests}")
    return timed


async def _samples(engine: Engine, texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(prompt, continuation) pairs for the report; drawn with fixed seeds at temperature 0.8."""
    found = []
    for seed in range(min(SAMPLES, len(texts))):
        prompt = _prompt(texts[seed * len(texts) // SAMPLES], engine)
        request = GenerateRequest(prompt=prompt, max_tokens=_answer_tokens(SAMPLE_TOKENS, engine), temperature=0.8, seed=seed)
        found.append((prompt, "".join([chunk.text async for chunk in engine.generate(request) if isinstance(chunk, Text)])))
    return tuple(found)


def _prompt(text: str, engine: Engine) -> str:
    """The text's beginning, cut after a word; at most half the engine's context even at one token a byte."""
    start = text.lstrip().encode()[: min(PROMPT_BYTES, engine.info.max_length // 2)].decode(errors="ignore")
    return start.rpartition(" ")[0] or start or "\n"


def _later(text: str, turn: int) -> str:
    """Another part of the text at each turn, so that no prompt comes twice and none is answered from a prefix cache."""
    return text[turn * PROMPT_BYTES % max(1, len(text) - PROMPT_BYTES) :]


def _answer_tokens(most: int, engine: Engine) -> int:
    return max(1, min(most, engine.info.max_length // 2 - 1))


def _block_bits(found: Evidence) -> tuple[float, ...]:
    """Bits per character of each block; empty for classification."""
    if "nats" not in found.predictions.columns:
        return ()
    return tuple((found.predictions["nats"] / found.predictions["characters"] / math.log(2)).to_list())
