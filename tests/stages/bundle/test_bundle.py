"""Bundles: every file by digest, where it came from, and nothing that could carry code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.core.digests import digest_file, digest_folder
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, BadInput
from penstock.engines.bundle_file import read_bundle, verify_bundle
from penstock.spec.steps import BundleConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.testing.stages import FolderInputs, StageRun, run_stage

FACTS = {
    "task": "text-classification",
    "engine": "openvino-encoder",
    "precision": "int8",
    "max_length": 64,
    "comparison": {"agreement": 1.0},
}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "openvino_model.xml").write_text("<net/>")
    (folder / "openvino_model.bin").write_bytes(b"\0" * 64)
    (folder / "labels.json").write_text('["a", "b"]')
    (folder / "export.json").write_text(json.dumps(FACTS))
    return folder


def bundled(root: Path, export: Path, **others: Path) -> StageRun:
    return run_stage(
        BundleStage(), BundleConfig(name="intents", task="text-classification"), root, FolderInputs({"export": export, **others})
    )


def test_a_bundle_names_every_file_and_its_origins(tmp_path: Path, export: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    (other / "x.json").write_text("{}")
    made = bundled(tmp_path / "run", export, model=other)
    folder = made.outputs.root / "bundle"
    bundle = read_bundle(folder)
    verify_bundle(folder, bundle)
    assert bundle.files == {path.name: digest_file(path) for path in export.iterdir()}
    assert bundle.made_from == {"export": digest_folder(export), "model": digest_folder(other)}
    assert (bundle.name, bundle.engine, bundle.precision, bundle.max_length, bundle.labels) == (
        "intents",
        "openvino-encoder",
        "int8",
        64,
        ("a", "b"),
    )
    assert made.outputs.metas["bundle"] == {name: FACTS[name] for name in ("task", "engine", "precision", "max_length")}
    assert digest_folder(folder) == digest_folder(bundled(tmp_path / "again", export, model=other).outputs.root / "bundle")


def test_code_is_refused(tmp_path: Path, export: Path) -> None:
    (export / "training_args.bin").write_bytes(b"\x80\x04")
    with pytest.raises(BadInput, match=r"training_args\.bin"):
        bundled(tmp_path / "run", export)


@pytest.mark.parametrize(
    ("data", "error"), [(None, ArtifactMissing), (b"{", ArtifactCorrupt), (b'{"task": "text-generation"}', ArtifactCorrupt)]
)
def test_an_export_must_say_what_it_is(tmp_path: Path, export: Path, data: bytes | None, error: type[Exception]) -> None:
    (export / "export.json").unlink()
    if data is not None:
        (export / "export.json").write_bytes(data)
    with pytest.raises(error, match="export"):
        bundled(tmp_path / "run", export)
