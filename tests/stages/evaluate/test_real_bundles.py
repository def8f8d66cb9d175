"""The real engines over real bundles: the evidence repeats to the byte although the engine batches by arrival."""

import math

import polars as pl
import pytest

from penstock.core.digests import digest_folder
from penstock.spec.pipeline import Evaluate, OptimizeRule
from penstock.spec.steps import BundleConfig, EvaluateConfig, OptimizeConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.stages.evaluate.stage import EvaluateStage
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.small_models import decoder_model, encoder_model, packaged_minilm
from penstock.testing.stages import FolderInputs, run_stage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def bundled(root, model, dataset, task, max_length, *rules):
    given = {"model": model, "dataset": dataset}
    config = OptimizeConfig(task=task, rules=tuple(OptimizeRule.model_validate({"quantize": rule}) for rule in rules))
    made = run_stage(OptimizeStage(), config, root / "optimize", FolderInputs(given, {"model": {"max_length": max_length}}))
    given = FolderInputs({**given, "export": made.outputs.root / "export"})
    return run_stage(BundleStage(), BundleConfig(name="small", task=task), root / "bundle", given).outputs.root / "bundle"


def evaluated(root, task, bundle, dataset):
    config = EvaluateConfig(task=task, evaluate=Evaluate(resamples=100, latency_requests=10))
    return run_stage(EvaluateStage(), config, root, FolderInputs({"bundle": bundle, "dataset": dataset}))


def test_an_encoder_bundle_repeats_to_the_byte(tmp_path, banking, make_dataset):
    base = packaged_minilm()
    if base is None:
        pytest.skip("the package that carries MiniLM is not installed")
    rows = banking.test[::16]
    dataset = make_dataset(tmp_path / "dataset", rows)
    for split, step in (("train", 80), ("validation", 300)):
        pl.DataFrame({"text": [text for text, _ in banking.train[::step]]}).write_parquet(dataset / f"{split}.parquet")
    labels = sorted({label for _, label in rows})
    model = encoder_model(tmp_path / "model", base, labels)
    bundle = bundled(tmp_path, model, dataset, "text-classification", 64, "int8")
    runs = [evaluated(tmp_path / f"run-{i}", "text-classification", bundle, dataset) for i in range(2)]
    assert len({digest_folder(run.outputs.root / "evaluation") for run in runs}) == 1
    assert 0 < runs[0].metrics["latency.p50_ms"] < 1000
    predictions = pl.read_parquet(runs[0].outputs.root / "evaluation" / "predictions.parquet")
    assert predictions["prediction"].n_unique() > 5


def test_a_decoder_bundle_repeats_to_the_byte(tmp_path, shakespeare):
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for split, text in (("train", shakespeare[:100_000]), ("validation", shakespeare[100_000:104_000]), ("test", shakespeare[-12_000:])):
        pl.DataFrame({"id": [split], "text": [text]}).write_parquet(dataset / f"{split}.parquet")
    model = decoder_model(tmp_path / "model", shakespeare[:100_000])
    bundle = bundled(tmp_path, model, dataset, "text-generation", 64)
    runs = [evaluated(tmp_path / f"run-{i}", "text-generation", bundle, dataset) for i in range(2)]
    assert len({digest_folder(run.outputs.root / "evaluation") for run in runs}) == 1
    metrics = runs[0].metrics
    assert 1.5 < metrics["bits_per_character"] < math.log2(65)
    assert metrics["latency.first_token_p50_ms"] < metrics["latency.p50_ms"]
