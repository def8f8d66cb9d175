"""The pipeline that retrains: the champion's own, with new rows beside the old ones, and gates that ask for both.

Pure but for reading the champion's run. What the champion was trained on is trained on again (`replay`, so that it is not forgotten); new
rows that are held out are asked about as `new`, the old test rows as `old`; a version must be better on the new and not worse on the old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import NotFound, PenstockError
from penstock.spec.pipeline import Data, Pipeline, Source
from penstock.spec.react import With
from penstock.store.registry import ModelVersion
from penstock.store.store import Store

OLD, NEW = "old", "new"
HOLDOUT = 0.3
MINIMUM = 100
FORGETTING = 0.02  # what the accuracy on old rows may lose, unless gates say otherwise
_BETTER = {"text-classification": "accuracy", "text-generation": "perplexity"}
_MARGIN = {"text-classification": FORGETTING, "text-generation": 1.0}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version came from: its pipeline as it was run, the file's folder, and the platforms."""

    pipeline: Pipeline
    beside: Path
    file: str
    version: ModelVersion


def origin_of(store: Store, version: ModelVersion) -> Origin:
    """Raises PenstockError when the run that made it is gone, or made it without data and training (an import)."""
    try:
        run = store.resources.get("run", version.run)
    except NotFound:
        raise PenstockError(
            f"the run that made {version.model}:{version.version} is not on record, so it cannot be repeated with new rows",
            remedy="Run its pipeline file once, so that a version with a record serves.",
        ) from None
    pipeline = Pipeline.model_validate(run.spec["pipeline"])
    if pipeline.data is None or pipeline.train is None:
        raise PenstockError(f"{version.model}:{version.version} was not trained by a pipeline, so there is nothing to repeat")
    file = str(run.spec.get("file") or "")
    return Origin(pipeline, Path(file).absolute().parent if file else Path.cwd(), file, version)


def retrained(origin: Origin, rows: Path, given: With, champion_model: Path | None) -> Pipeline:
    """The pipeline to run. `rows`: folder with train.parquet and test.parquet. `champion_model`: to go on from, if that is wished."""
    pipeline = origin.pipeline
    assert pipeline.data is not None
    assert pipeline.train is not None
    data = _data(pipeline.data, rows, given, pipeline.task == "text-classification")
    train = pipeline.train if champion_model is None else pipeline.train.model_copy(update={"base": str(champion_model)})
    gates = given.gates if given.gates is not None else default_gates(str(pipeline.task))
    wanted = {"data": data, "train": train, "gates": tuple(dict.fromkeys((*pipeline.gates, *gates)))}
    return Pipeline.model_validate(pipeline.model_copy(update=wanted).model_dump(by_alias=True, exclude_none=True))


def default_gates(task: str) -> tuple[str, ...]:
    metric, margin = _BETTER[task], _MARGIN[task]
    return (f"better_than(champion, {NEW}.{metric})", f"not_worse_than(champion, {OLD}.{metric}, margin={margin:g})")


def _data(data: Data, rows: Path, given: With, labelled: bool) -> Data:
    fresh = {"text": "text", "label": "label" if labelled else None, "format": "parquet", "contains_personal_data": True, "name": NEW}
    sources = [_old(source, given.replay) for source in data.sources]
    tests = [_old(source, None) for source in data.test]
    sources.append(Source.model_validate({**fresh, "uri": str(rows / "train.parquet")}))
    if tests:  # without test sources the test rows are drawn from all sources, and say which
        tests.append(Source.model_validate({**fresh, "uri": str(rows / "test.parquet")}))
    else:
        sources.append(Source.model_validate({**fresh, "uri": str(rows / "test.parquet")}))
    return data.model_copy(update={"sources": tuple(sources), "test": tuple(tests)})


def _old(source: Source, replay: float | None) -> Source:
    """What was new at the last retraining is old now."""
    share = replay if replay is not None and replay < 1 else None
    sample = source.sample if share is None else share * (source.sample or 1.0)
    return source.model_copy(update={"name": OLD if source.name in (None, OLD, NEW) else source.name, "sample": sample})


def effect_of(metrics: Mapping[str, float], champion: Mapping[str, float], task: str) -> dict[str, Any]:
    """What was gained on new rows and lost on old ones, from the evaluations of both versions on the same rows."""
    metric = _BETTER[task]
    found: dict[str, Any] = {}
    for name in (OLD, NEW):
        ours, theirs = metrics.get(f"{name}.{metric}"), champion.get(f"{name}.{metric}")
        if ours is not None:
            found[name] = {"metric": metric, "challenger": round(ours, 4), "champion": None if theirs is None else round(theirs, 4)}
    if OLD in found and found[OLD]["champion"] is not None:
        worse = found[OLD]["champion"] - found[OLD]["challenger"]
        found["forgetting"] = round(worse if task == "text-classification" else -worse, 4)
    return found


def told(effect: Mapping[str, Any]) -> str:
    """`new accuracy 0.91 (champion 0.31), old accuracy 0.92 (champion 0.93)`."""
    parts = []
    for name in (NEW, OLD):
        if name in effect:
            row = effect[name]
            beside = "" if row["champion"] is None else f" (champion {row['champion']:.4g})"
            parts.append(f"{name} {row['metric']} {row['challenger']:.4g}{beside}")
    return ", ".join(parts)
