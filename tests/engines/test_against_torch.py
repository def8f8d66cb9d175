"""OpenVINO in float32 answers as transformers does; int8 nearly so."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import polars
import pytest

from penstock.engines.contract import Chunk, Classified, ClassifyRequest, GenerateRequest, Request, Scored, ScoreRequest
from penstock.engines.table import open_engine
from penstock.engines.torch_reference import TorchReference
from penstock.testing.engines import chunks, whole

pytestmark = pytest.mark.models


def answers(bundle: Path, reference: TorchReference, request: Request, **settings: object) -> tuple[Chunk, Chunk]:
    async def both() -> tuple[Chunk, Chunk]:
        engine = open_engine(bundle, settings=settings)
        try:
            [ours], [theirs] = await chunks(engine, request), await chunks(reference, request)
        finally:
            await engine.close()
            await reference.close()
        return ours, theirs

    return asyncio.run(both())


@pytest.mark.parametrize(("precision", "near", "agree"), [("f32", 1e-3, 1.0), ("int8", 0.1, 0.85)])
def test_probabilities(
    request: pytest.FixtureRequest, encoder_folder: Path, intents: Path, precision: str, near: float, agree: float
) -> None:
    bundle: Path = request.getfixturevalue("encoder_bundle" if precision == "f32" else "encoder_bundle_int8")
    rows = polars.read_parquet(intents / "validation.parquet")["text"].to_list()
    reference = TorchReference.from_model(encoder_folder, "text-classification", 64)
    ours, theirs = answers(bundle, reference, ClassifyRequest(rows))
    assert isinstance(ours, Classified)
    assert isinstance(theirs, Classified)
    same = [a[0][0] == b[0][0] for a, b in zip(ours.rows, theirs.rows, strict=True)]
    assert sum(same) / len(same) >= agree
    for a, b in zip(ours.rows, theirs.rows, strict=True):
        expected = dict(b)
        assert all(abs(value - expected[label]) <= near for label, value in a)


def test_greedy_text_token_for_token(decoder_bundle: Path, decoder_folder: Path) -> None:
    async def both(prompt: str) -> tuple[str, str]:
        engine = open_engine(decoder_bundle, settings={"inference_precision": "f32", "cache_precision": "f32"})
        reference = TorchReference.from_model(decoder_folder, "text-generation", 64)
        asked = GenerateRequest(prompt=prompt, max_tokens=60, temperature=0)
        try:
            return await whole(engine, asked), await whole(reference, asked)
        finally:
            await engine.close()
            await reference.close()

    for prompt in ("First Citizen:\n", "The king is"):
        ours, theirs = asyncio.run(both(prompt))
        assert ours == theirs


def test_scores(decoder_bundle: Path, decoder_folder: Path, plays: Path) -> None:
    text = "\n\n".join(polars.read_parquet(plays / "validation.parquet")["text"].to_list())[:2000]
    reference = TorchReference.from_model(decoder_folder, "text-generation", 64)
    ours, theirs = answers(decoder_bundle, reference, ScoreRequest(text), inference_precision="f32", cache_precision="f32")
    assert isinstance(ours, Scored)
    assert isinstance(theirs, Scored)
    assert (ours.tokens, ours.characters) == (theirs.tokens, theirs.characters)
    assert math.isclose(ours.nats, theirs.nats, rel_tol=1e-4)
