"""The sentence encoder that drift compares texts by: one export gives the same bytes in any process, and its vectors mean something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penstock.core.digests import digest_folder
from penstock.spec.steps import EmbedderConfig
from penstock.stages.optimize.embedder_stage import EmbedderStage
from penstock.stages.reference.vectors import EncodedVectors
from penstock.testing.small_models import packaged_minilm
from penstock.testing.stages import FolderInputs, run_stage

ANOTHER = """
import sys
from pathlib import Path
from penstock.core.digests import digest_folder
from penstock.spec.steps import EmbedderConfig
from penstock.stages.optimize.embedder_stage import EmbedderStage
from penstock.testing.stages import FolderInputs, run_stage
base, root = Path(sys.argv[1]), Path(sys.argv[2])
run_stage(EmbedderStage(), EmbedderConfig(base_digest="base"), root, FolderInputs(externals={"base": base}))
print(digest_folder(root / "outputs" / "embedder"))
"""


@pytest.mark.models
def test_it_is_the_same_in_any_process_and_its_vectors_mean_something(tmp_path: Path) -> None:
    base = packaged_minilm()
    if base is None:
        pytest.skip("the packaged MiniLM is not installed")
    ran = run_stage(EmbedderStage(), EmbedderConfig(base_digest="base"), tmp_path / "one", FolderInputs(externals={"base": base}))
    folder = tmp_path / "one" / "outputs" / "embedder"
    assert ran.outputs.metas["embedder"]["dimensions"] == 384
    done = subprocess.run([sys.executable, "-c", ANOTHER, str(base), str(tmp_path / "other")], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == digest_folder(folder)

    vectors = EncodedVectors(folder, threads=1)
    texts = ["my card was stolen", "somebody took my card", "what is the exchange rate today", ""]
    found = vectors.of(texts).astype(np.float32)
    assert found.shape == (4, 384)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=2e-3)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
    alone = np.concatenate([vectors.of([text]) for text in texts]).astype(np.float32)
    assert np.abs(alone - found).max() < 2e-3
    assert vectors.of([]).shape == (0, 384)
