"""The pipeline that a retraining runs: from the file, whatever retrainings came before; their rows are kept, their gates are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.control.reactions.retraining import Origin, origin_of, retrained
from penstock.core.errors import PenstockError
from penstock.spec.pipeline import Pipeline
from penstock.spec.react import With
from penstock.store.registry import ModelVersion
from penstock.testing.control import Bench

SOURCE = {"uri": "train.csv", "text": "text", "label": "label"}
FILE = {
    "name": "m",
    "task": "text-classification",
    "data": {"sources": [{**SOURCE, "sample": 0.5}], "test": [{**SOURCE, "uri": "test.csv"}]},
    "train": {"base": "minilm"},
    "gates": ["accuracy >= 0.8"],
}
DEFAULT = ("better_than(champion, new.accuracy)", "not_worse_than(champion, old.accuracy, margin=0.02)")


def made(bench: Bench, run: str, pipeline: dict[str, Any], cause: dict[str, Any] | None = None) -> ModelVersion:
    spec = {"pipeline": pipeline, "file": "", **({} if cause is None else {"cause": cause})}
    bench.store.resources.create("run", "m", spec, id=run)
    return bench.store.registry.register("m", run, run=run, task="text-classification", metrics={}, gates=[], facts={})


def again(bench: Bench, origin: Origin, run: str, given: With) -> ModelVersion:
    folders = [Path(digest) for digest in (*origin.rows, f"rows-of-{run}")]
    pipeline = retrained(origin, folders, given, None)
    cause = {"reaction": f"reaction-of-{run}", "rows": f"rows-of-{run}", "champion": origin.version.version}
    return made(bench, run, pipeline.model_dump(mode="json", by_alias=True, exclude_none=True), cause)


def sources(pipeline: Pipeline) -> list[tuple[str, str | None, float | None]]:
    assert pipeline.data is not None
    return [(source.uri, source.name, source.sample) for source in pipeline.data.sources]


def test_gates_of_an_earlier_retraining_do_not_stay(bench: Bench) -> None:
    first = made(bench, "one", FILE)
    second = again(bench, origin_of(bench.store, first), "two", With())
    assert retrained(origin_of(bench.store, first), [Path("x")], With(), None).gates == ("accuracy >= 0.8", *DEFAULT)
    wished = ("not_worse_than(champion, new.accuracy, margin=0.05)",)
    third = again(bench, origin_of(bench.store, second), "three", With(gates=wished))
    gates = bench.store.resources.get("run", third.run).spec["pipeline"]["gates"]
    assert gates == ["accuracy >= 0.8", *wished]


def test_rows_of_earlier_retrainings_are_old_ones_and_replayed_once(bench: Bench) -> None:
    version = made(bench, "one", FILE)
    for run in ("two", "three"):
        version = again(bench, origin_of(bench.store, version), run, With(replay=0.5))
    origin = origin_of(bench.store, version)
    assert origin.rows == ("rows-of-two", "rows-of-three")
    assert origin.version == version
    pipeline = retrained(origin, [Path("a"), Path("b"), Path("c")], With(replay=0.5), None)
    assert sources(pipeline) == [
        ("train.csv", "old", 0.25),
        ("a/train.parquet", "old", 0.5),
        ("b/train.parquet", "old", 0.5),
        ("c/train.parquet", "new", None),
    ]
    assert pipeline.data is not None
    assert [(test.uri, test.name, test.sample) for test in pipeline.data.test] == [
        ("test.csv", "old", None),
        ("a/test.parquet", "old", None),
        ("b/test.parquet", "old", None),
        ("c/test.parquet", "new", None),
    ]


def test_nothing_old_is_replayed_when_that_is_wished(bench: Bench) -> None:
    origin = origin_of(bench.store, made(bench, "one", FILE))
    assert sources(retrained(origin, [Path("a")], With(replay=0.0), None)) == [("a/train.parquet", "new", None)]


def test_without_test_rows_of_its_own_what_is_held_out_is_drawn_with_the_rest(bench: Bench) -> None:
    data = {"sources": [SOURCE], "split": {"test": 0.2}}
    origin = origin_of(bench.store, made(bench, "one", {**FILE, "data": data}))
    pipeline = retrained(origin, [Path("a")], With(), None)
    assert sources(pipeline) == [("train.csv", "old", None), ("a/train.parquet", "new", None), ("a/test.parquet", "new", None)]
    assert pipeline.data is not None
    assert pipeline.data.test == ()


def test_what_it_goes_back_to_may_be_gone(bench: Bench) -> None:
    first = made(bench, "one", FILE)
    second = again(bench, origin_of(bench.store, first), "two", With())
    bench.store.resources.delete("run", "one")
    found = origin_of(bench.store, second)
    assert found.rows == ()
    assert sources(found.pipeline)[-1] == ("rows-of-two/train.parquet", "new", None)
    with pytest.raises(PenstockError, match="the run that made m:1 is not on record"):
        origin_of(bench.store, first)
