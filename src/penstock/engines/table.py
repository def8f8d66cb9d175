"""The engines by name, and the way to open one over a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.core.plugins import Row, Table
from penstock.engines.bundle_file import read_bundle, verify_bundle
from penstock.engines.contract import Engine

ENGINES = Table(
    "engine",
    {
        "openvino-encoder": Row("penstock.engines.openvino_encoder:OpenVinoEncoder", "serve"),
        "openvino-decoder": Row("penstock.engines.openvino_decoder:OpenVinoDecoder", "serve"),
        "upstream": Row("penstock.engines.upstream:Upstream", "serve"),
        "openvino-seq2seq": Row("penstock.engines.openvino_seq2seq:OpenVinoSeq2Seq", "serve"),
        "torch": Row("penstock.engines.torch_reference:TorchReference", "train"),
    },
)
ADAPTING = ("openvino-decoder",)  # those that can load LoRA adapters


def open_engine(bundle: Path, *, settings: Mapping[str, Any] | None = None, digest: str | None = None) -> Engine:
    """An engine over the bundle in folder `bundle`, ready to serve; every file is verified before any is loaded.

    `settings` are the engine's own (see its class); `digest` is the bundle artifact's, repeated in `info`.
    Raises ArtifactMissing, ArtifactCorrupt, BadInput (unknown engine, setting or file type), ExtraMissing.
    """
    description = read_bundle(bundle)
    engine = ENGINES.load(description.engine)
    verify_bundle(bundle, description)
    opened: Engine = engine.open(bundle, description, settings or {}, digest)
    return opened
