"""OpenVINO in float32 answers as transformers does; int8 nearly so."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import polars
import pytest

from penstock.engines.contract import Chunk, Classified, ClassifyRequest, GenerateRequest, Request, Scored, ScoreRequest, Text
from penstock.engines.table import open_engine
from penstock.engines.torch_reference import TorchReference
from penstock.testing.answers import text_of, told, values
from penstock.testing.engines import chunks, texts

pytestmark = pytest.mark.models
EXACT = {"inference_precision": "f32", "cache_precision": "f32"}


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


def test_greedy_text_token_for_token(decoder_bundle: Path, decoder_folder: Path, plays: Path) -> None:
    rows = polars.read_parquet(plays / "validation.parquet")["text"].to_list()
    prompts = [row[:24] for row in rows if len(row) > 24][:24]
    assert len(prompts) >= 20

    async def both() -> list[tuple[list[Text], list[Text]]]:
        engine = open_engine(decoder_bundle, settings=EXACT)
        reference = TorchReference.from_model(decoder_folder, "text-generation", 128)
        asked = [GenerateRequest(prompt=prompt, max_tokens=64, temperature=0, logprobs=at % 3) for at, prompt in enumerate(prompts)]
        try:
            ours = await asyncio.gather(*(texts(engine, one) for one in asked))
            return [(one, await texts(reference, request)) for one, request in zip(ours, asked, strict=True)]
        finally:
            await engine.close()
            await reference.close()

    compared = 0
    for ours, theirs in asyncio.run(both()):
        assert text_of(ours) == text_of(theirs)
        assert [one.token for one in told(ours)] == [one.token for one in told(theirs)]
        assert values(told(ours)) == pytest.approx(values(told(theirs)), abs=1e-3)
        for a, b in zip(told(ours), told(theirs), strict=True):
            assert [value for _, value in a.top] == pytest.approx([value for _, value in b.top], abs=1e-3)
        compared += len(told(ours))
    assert compared > 1000


def test_prompts_read_token_for_token(decoder_bundle: Path, decoder_folder: Path) -> None:
    """What lm-eval asks of `local-completions`: a prompt of ids, echoed with the log-probabilities of its tokens and of the likeliest."""
    asked = [
        GenerateRequest(prompt_ids=list(range(at + 1, at + size)), max_tokens=1, temperature=0, echo=True, logprobs=1)
        for at, size in enumerate((5, 90, 33, 60))
    ]

    async def both() -> list[tuple[list[Text], list[Text]]]:
        engine = open_engine(decoder_bundle, settings=EXACT)
        reference = TorchReference.from_model(decoder_folder, "text-generation", 128)
        try:
            ours = await asyncio.gather(*(texts(engine, one) for one in asked))
            return [(one, await texts(reference, request)) for one, request in zip(ours, asked, strict=True)]
        finally:
            await engine.close()
            await reference.close()

    for ours, theirs in asyncio.run(both()):
        assert len(told(ours)) == ours[0].prompt_tokens + 1
        assert [one.token for one in told(ours)] == [one.token for one in told(theirs)]
        assert values(told(ours)[1:]) == pytest.approx(values(told(theirs)[1:]), abs=1e-3)
        assert [one.top[0][0] for one in told(ours)[1:]] == [one.top[0][0] for one in told(theirs)[1:]]


def test_scores(decoder_bundle: Path, decoder_folder: Path, plays: Path) -> None:
    text = "\n\n".join(polars.read_parquet(plays / "validation.parquet")["text"].to_list())[:2000]
    reference = TorchReference.from_model(decoder_folder, "text-generation", 128)
    ours, theirs = answers(decoder_bundle, reference, ScoreRequest(text), **EXACT)
    assert isinstance(ours, Scored)
    assert isinstance(theirs, Scored)
    assert (ours.tokens, ours.characters) == (theirs.tokens, theirs.characters)
    assert math.isclose(ours.nats, theirs.nats, rel_tol=1e-4)
