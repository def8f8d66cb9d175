"""The reference stage with a made-up engine: equal inputs give equal bytes, texts are masked as live, nothing of them is kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from penstock.core.digests import digest_folder
from penstock.core.errors import DataUnusable, Interrupted, ReplicaFailed
from penstock.engines.contract import Chunk, Classified, ClassifyRequest, EngineInfo
from penstock.monitoring.drift.files import read_reference
from penstock.monitoring.drift.words import bucket
from penstock.spec.monitor import Drift
from penstock.spec.steps import ReferenceConfig
from penstock.stages.reference.features import Looked, column, has, is_numeric
from penstock.stages.reference.stage import ReferenceStage
from penstock.stages.reference.vectors import HashedVectors
from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext, run_stage

LABELS = ["card", "loan", "transfer"]
DRIFT = (
    *(Drift(input=what, window=50) for what in ("words", "embedding", "length", "language")),
    Drift(output="labels", window=50),
    Drift(output="confidence", window=80),
    Drift(output="length", window=50),
    Drift(feedback="errors", window=50),
    Drift(feedback="labels", window=50),
    Drift(metadata="channel", window=50),
)


class Half:
    """Says the label that the text names, and is wrong about every text of an even length."""

    info = EngineInfo("half", "text-classification", None, "f32", 64, LABELS)

    def __init__(self, short: int = 0) -> None:
        self.short, self.asked = short, []  # type: ignore[var-annotated]

    async def generate(self, request: Any) -> AsyncIterator[Chunk]:
        assert isinstance(request, ClassifyRequest)
        self.asked += list(request.texts)
        rows = [
            [("loan" if len(text) % 10 == 0 else next(n for n in LABELS if n in text), 0.5 + len(text) / 200)] for text in request.texts
        ]
        yield Classified(rows[self.short :], 0)

    def metrics(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        pass


def dataset(folder: Path, test: int = 300, validation: int = 100) -> Path:
    folder.mkdir(exist_ok=True)
    for split, count in (("test", test), ("validation", validation)):
        texts = [f"my {LABELS[n % 3]} is gone {'x' * (n % 7)} write to anna{n}@example.com now" for n in range(count)]
        labels = pl.Series([n % 3 for n in range(count)], dtype=pl.Int32)
        pl.DataFrame({"id": [f"{split}{n}" for n in range(count)], "text": texts, "label": labels}).write_parquet(
            folder / f"{split}.parquet"
        )
    (folder / "labels.json").write_text(json.dumps(LABELS))
    return folder


@pytest.fixture
def inputs(tmp_path: Path) -> FolderInputs:
    folder = dataset(tmp_path / "dataset")
    return FolderInputs({"dataset": folder, "bundle": folder})


CONFIG = ReferenceConfig(task="text-classification", drift=DRIFT)
STAGE = ReferenceStage(open_engine=lambda _: Half(), draws=60)


def test_it_holds_what_rows_can_say_and_no_row(inputs: FolderInputs, tmp_path: Path) -> None:
    ran = run_stage(STAGE, CONFIG, tmp_path / "run", inputs)
    folder = tmp_path / "run" / "outputs" / "reference"
    reference = read_reference(folder)
    learnt = {"drift.output.length", "drift.metadata.channel"}
    assert set(reference.standards) == {entry.signal for entry in DRIFT} - learnt
    assert ran.metrics == {"reference.rows": 400.0}
    assert ran.outputs.kinds == {"reference": "reference"}
    assert reference.about["masked"] is True
    assert reference.about["embedder"] == {"name": "hashed", "digest": None}
    assert {"requests/50", "requests/80", "rated/50", "learned/50"} - {"learned/50"} <= set(reference.scales["drift"])
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"anna" not in held
    assert b"gone" not in held


def test_equal_inputs_give_equal_bytes(inputs: FolderInputs, tmp_path: Path) -> None:
    for name in ("one", "other"):
        run_stage(STAGE, CONFIG, tmp_path / name, inputs)
    assert len({digest_folder(tmp_path / name / "outputs" / "reference") for name in ("one", "other")}) == 1


def test_texts_are_masked_for_the_reference_and_whole_for_the_model(inputs: FolderInputs, tmp_path: Path) -> None:
    engine = Half()
    stage = replace(STAGE, open_engine=lambda _: engine)
    run_stage(stage, CONFIG, tmp_path / "masked", inputs)
    assert any("@example.com" in text for text in engine.asked)
    run_stage(stage, CONFIG.model_copy(update={"mask": False}), tmp_path / "plain", inputs)
    masked, plain = (read_reference(tmp_path / name / "outputs" / "reference").standards["drift.words"] for name in ("masked", "plain"))
    counts = [standard.parts[0].sketch.counts for standard in (masked, plain)]  # type: ignore[attr-defined]
    assert counts[0][bucket("[EMAIL]")] == 400
    assert counts[0][bucket("example")] == 0
    assert counts[1][bucket("example")] == 400


def test_errors_are_the_share_that_the_model_has_wrong(inputs: FolderInputs, tmp_path: Path) -> None:
    run_stage(STAGE, CONFIG, tmp_path / "run", inputs)
    standard = read_reference(tmp_path / "run" / "outputs" / "reference").standards["drift.feedback.errors"]
    counts = standard.parts[0].sketch.counts  # type: ignore[attr-defined]
    texts = [text for split in ("test", "validation") for text in pl.read_parquet(inputs.folders["dataset"] / f"{split}.parquet")["text"]]
    wrong = sum(len(text) % 10 == 0 and "loan" not in text for text in texts)
    assert counts == {"wrong": wrong, "right": 400 - wrong}


def test_no_more_rows_than_limits_gain_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.stages.reference.stage.LEAST_ROWS", 200)
    folder = dataset(tmp_path / "dataset", 900, 100)
    engine = Half()
    stage = ReferenceStage(open_engine=lambda _: engine, draws=20)
    config = ReferenceConfig(task="text-classification", drift=(Drift(output="labels", window=50),))
    assert run_stage(stage, config, tmp_path / "run", FolderInputs({"dataset": folder, "bundle": folder})).metrics == {
        "reference.rows": 400.0
    }
    assert len(engine.asked) == 400


def test_too_few_rows_and_none_are_said(tmp_path: Path) -> None:
    few = dataset(tmp_path / "few", 40, 10)
    with pytest.raises(DataUnusable, match="50 reference rows"):
        run_stage(STAGE, CONFIG, tmp_path / "a", FolderInputs({"dataset": few, "bundle": few}))
    none = dataset(tmp_path / "none", 0, 0)
    with pytest.raises(DataUnusable, match="neither test nor validation"):
        run_stage(STAGE, CONFIG, tmp_path / "b", FolderInputs({"dataset": none, "bundle": none}))


def test_an_engine_that_answers_too_little_fails_the_step(inputs: FolderInputs, tmp_path: Path) -> None:
    with pytest.raises(ReplicaFailed):
        run_stage(replace(STAGE, open_engine=lambda _: Half(short=1)), CONFIG, tmp_path / "run", inputs)


def test_it_can_be_stopped(inputs: FolderInputs, tmp_path: Path) -> None:
    context = RecordingContext(tmp_path / "context", stop_after=1)
    with pytest.raises(Interrupted):
        STAGE.run(CONFIG, inputs, FolderOutputs(tmp_path / "outputs"), context)


def test_hashed_vectors_bring_like_texts_near() -> None:
    vectors = HashedVectors().of(["where is my card", "where is my new card", "the weather in rome", ""])
    assert vectors.dtype == "float16"
    alike, unlike = (float(vectors[0].astype(float) @ vectors[n].astype(float)) for n in (1, 2))
    assert alike > unlike + 0.3
    assert not vectors[3].any()


def test_what_a_field_of_metadata_is() -> None:
    assert is_numeric([1.5 * n for n in range(30)])
    assert not is_numeric([1, 2, 3] * 10)
    assert not is_numeric(["a"] * 30)
    assert not is_numeric([None])
    assert not is_numeric([True, False] * 20)
    rows = [Looked("a", metadata={"amount": 3}), Looked("b", metadata={"amount": "x"}), Looked("c")]
    assert [value for value in column("drift.metadata.amount", rows, numeric=True).tolist() if value == value] == [3.0]
    assert column("drift.metadata.amount", rows) == [3, "x", None]
    assert has("drift.metadata.amount", rows[2])
    assert not has("drift.words", rows[2])
