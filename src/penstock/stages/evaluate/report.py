"""The report: every fact of an evaluation as `report.json`, and as one self-contained page, `report.html`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from penstock.engines.contract import EngineInfo
from penstock.spec.steps import EvaluateConfig
from penstock.stages.evaluate import classification
from penstock.stages.evaluate.intervals import Interval
from penstock.stages.evaluate.page import page

WORST_ERRORS = 40
LATENCY_TOKENS = 32  # asked of a decoder when its latency is measured


_WORDS: Mapping[str, Mapping[str, str]] = {
    "text-classification": {
        "unit": "rows",
        "intervals": "Wilson score for accuracy and micro F1, percentile bootstrap over rows for the rest",
        "request": "One text a request",
    },
    "text-generation": {
        "unit": "blocks",
        "intervals": "percentile bootstrap over blocks of text",
        "request": f"Greedy, at most {LATENCY_TOKENS} tokens a request",
    },
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a report tells beside the rows.

    `single_ms`: latencies at concurrency 1; `blocks`: bits per character of each block; `samples`: (prompt, continuation).
    """

    name: str
    config: EvaluateConfig
    split: str
    rows: int
    bundle_digest: str
    dataset_digest: str
    engine: EngineInfo
    intervals: Mapping[str, Interval]
    timings: Mapping[str, float]
    single_ms: tuple[float, ...]
    blocks: tuple[float, ...]
    samples: tuple[tuple[str, str], ...]


def write_report(folder: Path, facts: Facts, answers: classification.Answers | None, texts: Sequence[str]) -> None:
    value = report_value(facts, answers, texts)
    (folder / "report.json").write_text(json.dumps(value, indent=1, ensure_ascii=False), "utf-8")
    (folder / "report.html").write_text(page(value), "utf-8")


def report_value(facts: Facts, answers: classification.Answers | None, texts: Sequence[str]) -> dict[str, Any]:
    """The report as JSON values: what the page draws, and nothing that the page does not."""
    value: dict[str, Any] = {
        "schema": 1,
        "name": facts.name,
        "task": facts.config.task,
        "split": facts.split,
        "rows": facts.rows,
        "bundle": facts.bundle_digest,
        "dataset": facts.dataset_digest,
        "engine": {"name": facts.engine.engine, "precision": facts.engine.precision, "max_length": facts.engine.max_length},
        "confidence": facts.config.evaluate.confidence,
        **_WORDS[facts.config.task],
        "metrics": {name: asdict(found) for name, found in facts.intervals.items()},
        "timings": dict(facts.timings),
        "single_ms": [round(ms, 4) for ms in facts.single_ms],
        "blocks": [round(bits, 4) for bits in facts.blocks],
        "samples": [{"prompt": prompt, "continuation": text} for prompt, text in facts.samples],
    }
    if answers is not None:
        value |= {
            "per_class": classification.per_class(answers),
            "confusion": classification.confusion(answers),
            "reliability": classification.reliability(answers),
            "coverage": classification.coverage(answers),
            "confidences": _confidences(answers),
            "worst_errors": _worst_errors(answers, texts),
        }
    return value


def _confidences(answers: classification.Answers, bins: int = 20) -> dict[str, list[int]]:
    """Rows per confidence bin of equal width over 0 to 1, right and wrong."""
    import numpy as np

    counts = {"right": answers.confidence[answers.correct], "wrong": answers.confidence[~answers.correct]}
    return {name: np.histogram(values, bins, (0.0, 1.0))[0].tolist() for name, values in counts.items()}


def _worst_errors(answers: classification.Answers, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Wrong answers, the surest first."""
    predictions, confidence = answers.predictions, answers.confidence
    wrong = sorted((row for row in range(len(texts)) if not answers.correct[row]), key=lambda row: (-confidence[row], answers.ids[row]))
    return [
        {
            "id": answers.ids[row],
            "text": texts[row],
            "label": answers.names[int(answers.labels[row])],
            "prediction": answers.names[int(predictions[row])],
            "confidence": float(confidence[row]),
        }
        for row in wrong[:WORST_ERRORS]
    ]
