"""The pipeline that retrains: the champion's own, with new rows beside the old ones, and gates that ask for both.

Pure but for reading the champion's run. What the champion was trained on is trained on again (`replay`, so that it is not forgotten); new
rows that are held out are asked about as `new`, the old test rows as `old`; a version must be better on the new and not worse on the old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.core.errors import NotFound, PenstockError
from penstock.spec.pipeline import Data, Pipeline, Source
from penstock.spec.react import With
from penstock.store.registry import ModelVersion
from penstock.store.resources import Resource
from penstock.store.store import Store

OLD, NEW = "old", "new"
HOLDOUT = 0.3
MINIMUM = 100
FORGETTING = 0.02  # what the accuracy on old rows may lose, unless gates say otherwise
_BETTER = {"text-classification": "accuracy", "text-generation": "perplexity"}
_MARGIN = {"text-classification": FORGETTING, "text-generation": 1.0}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a version came from: the pipeline as its file said, the file's folder, and the rows of retrainings since, oldest first.

    A retraining of a retrained version starts from the file again: the gates and the replay of the one before were for its rows.
    """

    pipeline: Pipeline
    beside: Path
    file: str
    version: ModelVersion
    rows: tuple[str, ...] = ()  # digests of artifacts


def origin_of(store: Store, version: ModelVersion) -> Origin:
    """Raises PenstockError when the run that made it is gone, or made it without data and training (an import)."""
    run = _run_of(store, version)
    if run is None:
        raise PenstockError(
            f"the run that made {version.model}:{version.version} is not on record, so it cannot be repeated with new rows",
            remedy="Run its pipeline file once, so that a version with a record serves.",
        )
    rows: list[str] = []
    while (before := _before(store, version.model, run)) is not None:
        rows.insert(0, str(run.spec["cause"]["rows"]))
        run = before
    pipeline = Pipeline.model_validate(run.spec["pipeline"])
    if pipeline.data is None or pipeline.train is None:
        raise PenstockError(f"{version.model}:{version.version} was not trained by a pipeline, so there is nothing to repeat")
    file = str(run.spec.get("file") or "")
    return Origin(pipeline, Path(file).absolute().parent if file else Path.cwd(), file, version, tuple(rows))


def _run_of(store: Store, version: ModelVersion) -> Resource | None:
    try:
        return store.resources.get("run", version.run)
    except NotFound:
        return None


def _before(store: Store, model: str, run: Resource) -> Resource | None:
    """The run that a retraining repeated; None for a run of a file, and where that run is no longer on record."""
    cause = run.spec.get("cause") or {}
    if "rows" not in cause:
        return None
    try:
        return _run_of(store, store.registry.get(model, int(cause["champion"])))
    except NotFound:
        return None


def retrained(origin: Origin, folders: Sequence[Path], given: With, champion_model: Path | None) -> Pipeline:
    """The pipeline to run. `folders`: of earlier retrainings and last of this one, each with train.parquet and test.parquet.

    `champion_model`: to go on from, if that is wished.
    """
    pipeline = origin.pipeline
    assert pipeline.data is not None
    assert pipeline.train is not None
    data = _data(pipeline.data, folders, given, pipeline.task == "text-classification")
    train = pipeline.train if champion_model is None else pipeline.train.model_copy(update={"base": str(champion_model)})
    gates = given.gates if given.gates is not None else default_gates(str(pipeline.task))
    wanted = {"data": data, "train": train, "gates": tuple(dict.fromkeys((*pipeline.gates, *gates)))}
    return Pipeline.model_validate(pipeline.model_copy(update=wanted).model_dump(by_alias=True, exclude_none=True))


def default_gates(task: str) -> tuple[str, ...]:
    metric, margin = _BETTER[task], _MARGIN[task]
    return (f"better_than(champion, {NEW}.{metric})", f"not_worse_than(champion, {OLD}.{metric}, margin={margin:g})")


def _data(data: Data, folders: Sequence[Path], given: With, labelled: bool) -> Data:
    """Without test sources the test rows are drawn from all sources, so rows that were held out are sources like the others."""
    *earlier, newest = folders
    learnt = [*data.sources, *(_gathered(folder / "train.parquet", OLD, labelled) for folder in earlier)]
    asked = [*data.test, *(_gathered(folder / "test.parquet", OLD, labelled) for folder in earlier)]
    replayed = [_old(source, given.replay) for source in learnt if given.replay != 0]
    sources = [*replayed, _gathered(newest / "train.parquet", NEW, labelled)]
    tests = [*(_old(source, None) for source in asked), _gathered(newest / "test.parquet", NEW, labelled)]
    if not data.test:
        sources, tests = [*sources, *tests], []
    return data.model_copy(update={"sources": tuple(sources), "test": tuple(tests)})


def _gathered(path: Path, name: str, labelled: bool) -> Source:
    label = "label" if labelled else None
    about = {"text": "text", "label": label, "format": "parquet", "contains_personal_data": True, "name": name}
    return Source.model_validate({**about, "uri": str(path)})


def _old(source: Source, replay: float | None) -> Source:
    """A source that the file itself calls `new` is old to a retraining."""
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
