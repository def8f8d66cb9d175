"""A reference on disk: comes back as it was, holds no text, and hostile files are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.core.errors import ArtifactCorrupt, ArtifactMissing
from penstock.monitoring.drift.calibrate import calibrated
from penstock.monitoring.drift.files import NAME, SKETCHES, read_reference, write_reference
from penstock.monitoring.drift.standard import Asked, Reference


@pytest.fixture(scope="module")
def reference() -> Reference:
    chance = np.random.default_rng(1)
    texts = [f"my passport number is {word}" for word in chance.choice(["secretone", "secrettwo", "secretthree"], 300)]
    vectors = chance.normal(size=(300, 8)).astype(np.float16)
    asked = [Asked("drift.words", 100, 0.01), Asked("drift.embedding", 100, 0.01), Asked("drift.length", 100, 0.01, limit=0.3)]
    values = {"drift.words": texts, "drift.embedding": vectors, "drift.length": chance.normal(size=300)}
    return calibrated(values, asked, draws=60)


@pytest.fixture
def folder(reference: Reference, tmp_path: Path) -> Path:
    write_reference(tmp_path, reference)
    return tmp_path


def test_it_comes_back_as_it_was(reference: Reference, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = read_reference(folder)
    assert again.scales == reference.scales
    assert {s: one.asked for s, one in again.standards.items()} == {s: one.asked for s, one in reference.standards.items()}
    other = tmp_path_factory.mktemp("again")
    write_reference(other, again)
    files = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert all((other / name).read_bytes() == (folder / name).read_bytes() for name in files)


def test_no_text_of_the_reference_is_in_it(folder: Path) -> None:
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not any(word in held for word in (b"secretone", b"secrettwo", b"passport"))


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(schema=2),
        lambda v: v.update(signals=[]),
        lambda v: v.update(scales={"drift": {"requests/100": -1}}),
        lambda v: v.update(scales={"drift": {"requests/100": "x"}}),
        lambda v: v.update(about=3),
        lambda v: v["signals"]["drift.words"].update(window=0),
        lambda v: v["signals"]["drift.words"].update(parts=[]),
        lambda v: v["signals"]["drift.words"]["parts"][0].update(sketch="../../etc/passwd"),
        lambda v: v["signals"]["drift.words"]["parts"][1].update(sketch="length.numbers.sketch"),
        lambda v: v["signals"]["drift.words"]["parts"][0].update(limit=float("1e400")),
        lambda v: v["signals"]["drift.words"]["parts"][0].update(limit=True),
        lambda v: v["signals"]["drift.words"].update(signal="drift.other"),
    ],
)
def test_hostile_descriptions_are_refused(folder: Path, change: Any) -> None:
    value = json.loads((folder / NAME).read_bytes())
    change(value)
    (folder / NAME).write_text(json.dumps(value))
    with pytest.raises(ArtifactCorrupt):
        read_reference(folder)


def test_what_is_missing_or_no_json_is_said(folder: Path) -> None:
    sketch = next((folder / SKETCHES).iterdir())
    data = sketch.read_bytes()
    sketch.unlink()
    with pytest.raises(ArtifactMissing):
        read_reference(folder)
    sketch.write_bytes(data[:-1])
    with pytest.raises(ArtifactCorrupt):
        read_reference(folder)
    (folder / NAME).write_text("[" * 100_000)
    with pytest.raises(ArtifactCorrupt):
        read_reference(folder)
    (folder / NAME).unlink()
    with pytest.raises(ArtifactMissing):
        read_reference(folder)
