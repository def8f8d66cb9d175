"""Bundles of small real models, made once by the stages that make them in a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import polars
import pytest

from penstock.spec.pipeline import OptimizeRule
from penstock.spec.steps import BundleConfig, OptimizeConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.once import once
from penstock.testing.small_models import decoder_model, encoder_model, packaged_minilm
from penstock.testing.stages import FolderInputs, run_stage

Task = Literal["text-classification", "text-generation"]
LABELS = tuple(f"intent-{at:02d}" for at in range(77))


def mirror() -> Path:
    return Path(os.environ.get("PENSTOCK_MIRROR") or Path(__file__).resolve().parents[3] / "shared" / "data")


def dataset(folder: Path, texts: list[str]) -> Path:
    folder.mkdir(parents=True)
    polars.DataFrame({"text": texts[:-40]}).write_parquet(folder / "train.parquet")
    polars.DataFrame({"text": texts[-40:]}).write_parquet(folder / "validation.parquet")
    return folder


def bundled(root: Path, model: Path, rows: Path, task: Task, max_length: int, *quantized: str) -> Path:
    rules = tuple(OptimizeRule.model_validate({"quantize": to}) for to in quantized)
    given = FolderInputs({"model": model, "dataset": rows}, {"model": {"max_length": max_length}})
    made = run_stage(OptimizeStage(), OptimizeConfig(task=task, rules=rules), root / "optimize", given)
    again = FolderInputs({"model": model, "dataset": rows, "export": made.outputs.root / "export"})
    return run_stage(BundleStage(), BundleConfig(name="small", task=task), root / "bundle", again).outputs.root / "bundle"


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = packaged_minilm()
    if base is None:
        pytest.skip("the package that carries MiniLM is not installed")
    return once(tmp_path_factory, "encoder", lambda place: encoder_model(place / "model", base, LABELS))


@pytest.fixture(scope="session")
def intents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = mirror() / "banking77" / "train.csv"
    if not source.is_file():
        pytest.skip(f"no {source}; set PENSTOCK_MIRROR")
    return dataset(tmp_path_factory.mktemp("intents") / "dataset", polars.read_csv(source)["text"].to_list()[::24])


@pytest.fixture(scope="session")
def plays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = mirror() / "tinyshakespeare" / "input.txt"
    if not source.is_file():
        pytest.skip(f"no {source}; set PENSTOCK_MIRROR")
    return dataset(tmp_path_factory.mktemp("plays") / "dataset", source.read_text(encoding="utf-8")[:200_000].split("\n\n"))


@pytest.fixture(scope="session")
def decoder_folder(tmp_path_factory: pytest.TempPathFactory, plays: Path) -> Path:
    text = "\n\n".join(polars.read_parquet(plays / "train.parquet")["text"].to_list())
    return once(tmp_path_factory, "decoder", lambda place: decoder_model(place / "model", text, context=128))


@pytest.fixture(scope="session")
def encoder_bundle(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, intents: Path) -> Path:
    return once(tmp_path_factory, "encoder-f32", lambda place: bundled(place, encoder_folder, intents, "text-classification", 64))


@pytest.fixture(scope="session")
def encoder_bundle_int8(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, intents: Path) -> Path:
    return once(tmp_path_factory, "encoder-int8", lambda place: bundled(place, encoder_folder, intents, "text-classification", 64, "int8"))


@pytest.fixture(scope="session")
def decoder_bundle(tmp_path_factory: pytest.TempPathFactory, decoder_folder: Path, plays: Path) -> Path:
    return once(tmp_path_factory, "decoder-f32", lambda place: bundled(place, decoder_folder, plays, "text-generation", 128))
