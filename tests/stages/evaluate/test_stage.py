import asyncio
import dataclasses
import json
import math

import polars as pl
import pytest

from penstock.core.digests import digest_folder
from penstock.core.errors import ArtifactMissing, BadInput, DataUnusable, Interrupted, ReplicaFailed
from penstock.engines.contract import ClassifyRequest, GenerateRequest
from penstock.spec.pipeline import Evaluate
from penstock.spec.steps import EvaluateConfig
from penstock.stages.evaluate import asking, latency
from penstock.stages.evaluate.stage import EvaluateStage
from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext, run_stage

QUICK = Evaluate(resamples=200, latency_requests=40)


def config(task="text-classification", **changes):
    return EvaluateConfig(task=task, evaluate=QUICK.model_copy(update=changes))


def inputs(banking):
    return FolderInputs({"bundle": banking.bundle, "dataset": banking.dataset})


@pytest.fixture(scope="module")
def evaluated(banking, strong, tmp_path_factory):
    return run_stage(EvaluateStage(lambda *_: strong), config(), tmp_path_factory.mktemp("strong"), inputs(banking))


def test_metrics_are_flat_with_both_ends(evaluated):
    metrics = evaluated.metrics
    assert 0.86 < metrics["accuracy.low"] < metrics["accuracy"] < metrics["accuracy.high"] < 0.93
    for name in ("macro_f1", "weighted_f1", "precision", "recall", "calibration.ece", "calibration.brier", "calibration.nll"):
        assert metrics[f"{name}.low"] <= metrics[name] <= metrics[f"{name}.high"], name
    assert 0 < metrics["latency.p50_ms"] <= metrics["latency.p95_ms"] <= metrics["latency.p99_ms"]
    assert metrics["throughput_rps"] > 0
    assert metrics["interval.confidence"] == 0.95


def test_evidence_is_as_the_layout_says(evaluated, banking):
    folder = evaluated.outputs.root / "evaluation"
    assert sorted(p.name for p in folder.iterdir()) == ["confusion.json", "metrics.json", "predictions.parquet"]
    rows = pl.read_parquet(folder / "predictions.parquet")
    assert rows.schema == {"id": pl.String, "label": pl.Int32, "prediction": pl.Int32, "confidence": pl.Float64, "correct": pl.Boolean}
    assert rows.height == len(banking.test) == 3080
    metrics = json.loads((folder / "metrics.json").read_bytes())
    assert metrics["accuracy"]["value"] == pytest.approx(rows["correct"].mean())
    assert not [name for name in metrics if "latency" in name or "throughput" in name]
    assert sum(map(sum, json.loads((folder / "confusion.json").read_bytes())["matrix"])) == 3080
    assert evaluated.outputs.metas["evaluation"] == {"task": "text-classification", "split": "test", "rows": 3080}
    assert evaluated.outputs.kinds == {"evaluation": "evaluation", "report": "report"}


def test_equal_inputs_give_equal_evidence(evaluated, banking, strong, tmp_path):
    again = run_stage(EvaluateStage(lambda *_: strong), config(), tmp_path, inputs(banking))
    assert digest_folder(again.outputs.root / "evaluation") == digest_folder(evaluated.outputs.root / "evaluation")


def test_progress_counts_rows_and_the_engine_is_closed(evaluated, strong):
    rows = [p for p in evaluated.context.progresses if p.unit == "rows"]
    assert rows[-1].done == rows[-1].total == 3080
    assert [p.done for p in evaluated.context.progresses if p.unit == "requests"] == list(range(1, 41))
    assert strong.closed
    assert 1 < strong.most <= latency.CONCURRENCY


def test_only_the_metrics_asked_for(banking, strong, tmp_path):
    found = run_stage(EvaluateStage(lambda *_: strong), config(metrics=("macro_f1",)), tmp_path, inputs(banking)).metrics
    assert set(found) == {"macro_f1", "macro_f1.low", "macro_f1.high", "interval.confidence"}
    with pytest.raises(BadInput, match="perplexity does not fit text-classification"):
        run_stage(EvaluateStage(lambda *_: strong), config(metrics=("perplexity",)), tmp_path / "b", inputs(banking))


def test_validation_stands_in_for_an_empty_test_split(make_dataset, table_engine, tmp_path):
    rows = [("yes", "a"), ("no", "b")] * 10
    engine = table_engine(["a", "b"], {"yes": [0.9, 0.1], "no": [0.6, 0.4]}.__getitem__)
    bundle = bundle_folder(tmp_path)
    dataset = make_dataset(tmp_path / "dataset", rows, "validation")
    run = run_stage(EvaluateStage(lambda *_: engine), config(), tmp_path / "run", FolderInputs({"bundle": bundle, "dataset": dataset}))
    assert run.metrics["accuracy"] == 0.5
    assert run.outputs.metas["evaluation"]["split"] == "validation"
    empty = make_dataset(tmp_path / "empty", rows, "train")
    with pytest.raises(DataUnusable, match="neither test nor validation"):
        run_stage(EvaluateStage(lambda *_: engine), config(), tmp_path / "x", FolderInputs({"bundle": bundle, "dataset": empty}))


def test_a_label_that_only_the_bundle_knows_is_simply_wrong(make_dataset, table_engine, tmp_path):
    engine = table_engine(["old", "a", "b"], {"yes": [0.1, 0.8, 0.1], "no": [0.9, 0.05, 0.05]}.__getitem__)
    dataset = make_dataset(tmp_path / "dataset", [("yes", "a"), ("no", "b")] * 5)
    folders = FolderInputs({"bundle": bundle_folder(tmp_path), "dataset": dataset})
    run = run_stage(EvaluateStage(lambda *_: engine), config(), tmp_path / "run", folders)
    assert run.metrics["accuracy"] == 0.5
    assert pl.read_parquet(run.outputs.root / "evaluation" / "predictions.parquet")["prediction"].to_list()[:2] == [0, 2]


def test_generation_is_measured_by_likelihood(shakespeare, bigrams, tmp_path):
    text = shakespeare[1_003_854:1_033_854]
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    pl.DataFrame({"id": ["t"], "text": [text]}).write_parquet(dataset / "test.parquet")
    folders = FolderInputs({"bundle": bundle_folder(tmp_path), "dataset": dataset})
    run = run_stage(EvaluateStage(lambda *_: bigrams), config("text-generation", latency_requests=10), tmp_path / "run", folders)
    metrics = run.metrics
    assert 3.3 < metrics["bits_per_character.low"] < metrics["bits_per_character"] < metrics["bits_per_character.high"] < 3.8
    assert metrics["nats_per_character"] == pytest.approx(metrics["bits_per_character"] * math.log(2))
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["nats_per_character"]))
    assert 0 < metrics["latency.first_token_p50_ms"] < metrics["latency.p50_ms"]
    assert metrics["throughput_tokens_per_s"] > metrics["throughput_rps"]
    rows = pl.read_parquet(run.outputs.root / "evaluation" / "predictions.parquet")
    assert rows.columns == ["id", "nats", "tokens", "characters"]
    assert rows["id"].is_unique().all()
    assert rows.height > 10
    assert rows["characters"].sum() == len(text) - rows.height
    report = json.loads((run.outputs.root / "report" / "report.json").read_text("utf-8"))
    assert len(report["samples"][0]["continuation"]) == 96


def test_evidence_is_gathered_steadily_and_latency_as_it_is_served(make_dataset, table_engine, tmp_path):
    """The OpenVINO encoder shares a request among free streams; with one stream it always adds up in the same order."""
    opened = []

    def opener(_, settings):
        opened.append((settings, table_engine(["a", "b"], lambda _: [0.7, 0.3])))
        return opened[-1][1]

    bundle = bundle_folder(tmp_path)
    (bundle / "bundle.json").write_text(json.dumps({"engine": "openvino-encoder", "name": "intents"}))
    dataset = make_dataset(tmp_path / "dataset", [("yes", "a"), ("no", "b")] * 50)
    run = run_stage(EvaluateStage(opener), config(), tmp_path / "run", FolderInputs({"bundle": bundle, "dataset": dataset}))
    assert [settings for settings, _ in opened] == [{"streams": 1}, {}]
    assert [engine.most for _, engine in opened] == [1, latency.CONCURRENCY]
    assert all(engine.closed for _, engine in opened)
    assert "Evaluation of intents" in (run.outputs.root / "report" / "report.html").read_text("utf-8")


def test_a_prompt_fits_a_small_context(bigrams, tmp_path):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    pl.DataFrame({"id": ["t"], "text": ["é" * 5000]}).write_parquet(dataset / "test.parquet")
    seen = []

    class Small:
        info = dataclasses.replace(bigrams.info, max_length=40)
        close, metrics = bigrams.close, bigrams.metrics

        def generate(self, request):
            seen.append(request)
            return bigrams.generate(request)

    folders = FolderInputs({"bundle": bundle_folder(tmp_path), "dataset": dataset})
    run_stage(EvaluateStage(lambda *_: Small()), config("text-generation", latency_requests=10), tmp_path / "run", folders)
    asked = [request for request in seen if isinstance(request, GenerateRequest)]
    assert asked
    assert all(len(request.prompt.encode()) + request.max_tokens < 40 for request in asked)


def test_no_prompt_is_timed_twice(shakespeare, bigrams, tmp_path):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    pl.DataFrame({"id": ["t"], "text": [shakespeare[-8000:]]}).write_parquet(dataset / "test.parquet")
    seen = []

    class Listening:
        info, close, metrics = bigrams.info, bigrams.close, bigrams.metrics

        def generate(self, request):
            seen.append(request)
            return bigrams.generate(request)

    folders = FolderInputs({"bundle": bundle_folder(tmp_path), "dataset": dataset})
    run_stage(EvaluateStage(lambda *_: Listening()), config("text-generation", latency_requests=20), tmp_path / "run", folders)
    timed = [request.prompt for request in seen if isinstance(request, GenerateRequest) and request.temperature == 0][latency.WARM_UP :]
    assert len(timed) == len(set(timed)) == 40


def test_blocks_cover_the_text_in_order():
    text = ("one two three\n" * 400) + "x" * 5000
    pieces = list(asking.blocks("r", text))
    assert "".join(piece for _, piece in pieces) == text
    assert all(len(piece) <= asking.BLOCK_CHARACTERS for _, piece in pieces)
    assert list(asking.blocks("r", "short")) == [("r", "short")]
    assert list(asking.blocks("r", " \n ")) == []


def test_a_stopped_evaluation_is_interrupted_and_leaves_the_engine_closed(banking, table_engine, tmp_path):
    engine = table_engine(["a"], lambda _: [1.0])
    context = RecordingContext(tmp_path / "context", stop_after=2)
    with pytest.raises(Interrupted, match=r"after 192 of 3,080 rows"):
        EvaluateStage(lambda *_: engine).run(config(), inputs(banking), FolderOutputs(tmp_path / "out"), context)
    assert engine.closed


def test_an_error_among_many_requests_is_raised_as_itself():
    started = []

    async def work(item):
        started.append(item)
        await asyncio.sleep(0)
        if item == 5:
            raise BadInput("the sixth")

    with pytest.raises(BadInput, match="the sixth"):
        asyncio.run(asking.in_flight(range(1000), 4, work))
    assert len(started) < 20


def test_a_folder_without_a_description_is_no_bundle(banking, tmp_path):
    folders = FolderInputs({"bundle": tmp_path, "dataset": banking.dataset})
    with pytest.raises(ArtifactMissing, match=r"no bundle\.json"):
        run_stage(EvaluateStage(lambda *_: None), config(), tmp_path / "run", folders)


def test_an_engine_that_says_nothing_is_named(table_engine):
    engine = table_engine([], None)

    async def silent(request):
        return
        yield request

    engine.generate = silent
    with pytest.raises(ReplicaFailed, match="answered a ClassifyRequest with nothing"):
        asyncio.run(asking.last_chunk(engine, ClassifyRequest(["a"])))


def bundle_folder(root):
    (root / "bundle").mkdir()
    (root / "bundle" / "bundle.json").write_text("{}")
    return root / "bundle"


def test_named_sources_are_measured_on_their_own(banking, strong, tmp_path):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for file in banking.dataset.iterdir():
        (dataset / file.name).write_bytes(file.read_bytes())
    rows = pl.read_parquet(dataset / "test.parquet")
    names = ["new" if at % 4 == 0 else "old" for at in range(rows.height)]
    rows.with_columns(pl.Series("source", names)).write_parquet(dataset / "test.parquet")
    found = run_stage(
        EvaluateStage(lambda *_: strong),
        config(metrics=("accuracy", "macro_f1")),
        tmp_path / "run",
        FolderInputs({"bundle": banking.bundle, "dataset": dataset}),
    )
    table = pl.read_parquet(found.outputs.root / "evaluation" / "predictions.parquet")
    for name in ("new", "old"):
        own = table.filter(pl.col("source") == name)
        assert found.metrics[f"{name}.accuracy"] == pytest.approx(own["correct"].mean())
        assert found.metrics[f"{name}.accuracy.low"] < found.metrics[f"{name}.accuracy"] < found.metrics[f"{name}.accuracy.high"]
    assert "new.macro_f1" in found.metrics
    assert "new.calibration.ece" not in found.metrics, "only what was asked for"
    assert found.metrics["accuracy"] == pytest.approx(table["correct"].mean())
