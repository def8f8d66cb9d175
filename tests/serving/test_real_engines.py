"""Real bundles behind replica and gateway: what the engine says when called directly is what a client reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx
import openai
import polars
import pytest

from penstock.engines.contract import ClassifyRequest, EmbedRequest, GenerateRequest
from penstock.engines.table import open_engine
from penstock.spec.steps import BundleConfig, OptimizeConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.plain import PLAIN
from penstock.testing.serving import SECRET, RunningGateway, Stage, snapshot_of
from penstock.testing.small_models import decoder_model, encoder_model, packaged_minilm
from penstock.testing.stages import FolderInputs, run_stage

pytestmark = [
    pytest.mark.models,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]
LINES = [f"Where is my card number {n}, and when will the money come?" for n in range(120)]
Task = Literal["text-classification", "text-generation"]


def bundled(root: Path, model: Path, task: Task) -> Path:
    rows = root / "rows"
    rows.mkdir(parents=True)
    for split in ("train", "validation"):
        polars.DataFrame({"text": LINES[:40]}).write_parquet(rows / f"{split}.parquet")
    given = FolderInputs({"model": model, "dataset": rows}, {"model": {"max_length": 64}})
    made = run_stage(OptimizeStage(), OptimizeConfig(task=task, rules=()), root / "optimize", given)
    again = FolderInputs({"model": model, "dataset": rows, "export": made.outputs.root / "export"})
    return run_stage(BundleStage(), BundleConfig(name="small", task=task), root / "bundle", again).outputs.root / "bundle"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = packaged_minilm()
    if base is None:
        pytest.skip("the package that carries MiniLM is not installed")
    root = tmp_path_factory.mktemp("bundles")
    encoder = encoder_model(root / "encoder", base, ("cards", "loans", "transfers"))
    decoder = decoder_model(root / "decoder", "\n\n".join(LINES))
    return {
        "intents": bundled(root / "intents", encoder, "text-classification"),
        "plays": bundled(root / "plays", decoder, "text-generation"),
    }


@pytest.fixture(scope="module")
def real(bundles: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with Stage(tmp_path_factory.mktemp("real")) as stage:
        routes = []
        for name, bundle in bundles.items():
            replica = stage.replica(f"{name}-1", name, bundle=str(bundle), engine_class=None)
            routes.append(snapshot_of(1, ("1", 1.0, [replica]), model=name).models[0])
        yield stage.gateway(replace(snapshot_of(1), models=tuple(routes)))


@pytest.fixture
def official(real: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{real.url}/v1", api_key=SECRET, http_client=httpx.Client(trust_env=False), max_retries=0) as client:
        yield client


def direct(bundle: Path, request: Any) -> list[Any]:
    async def scenario() -> list[Any]:
        engine = open_engine(bundle)
        chunks = [chunk async for chunk in engine.generate(request)]
        await engine.close()
        return chunks

    return asyncio.run(scenario())


def test_labels_are_the_engines(real: RunningGateway, bundles: dict[str, Path]) -> None:
    expected = direct(bundles["intents"], ClassifyRequest(LINES[:5]))[0]
    answer = httpx.post(
        f"{real.url}/v1/classify",
        json={"model": "intents", "input": LINES[:5]},
        headers={"authorization": f"Bearer {SECRET}"},
        timeout=60,
        **PLAIN,
    ).json()
    seen = [[(label["label"], label["score"]) for label in row["labels"]] for row in answer["data"]]
    assert [[label for label, _ in row] for row in seen] == [[label for label, _ in row] for row in expected.rows]
    assert [score for row in seen for _, score in row] == pytest.approx([score for row in expected.rows for _, score in row], abs=1e-5)
    assert answer["usage"]["prompt_tokens"] == expected.prompt_tokens > 5


def test_vectors_are_the_engines(official: openai.OpenAI, bundles: dict[str, Path]) -> None:
    expected = direct(bundles["intents"], EmbedRequest(LINES[:2]))[0]
    seen = official.embeddings.create(model="intents", input=LINES[:2])
    for row, vector in zip(seen.data, expected.vectors, strict=True):
        assert row.embedding == pytest.approx(vector, abs=1e-5)
        assert sum(x * x for x in row.embedding) == pytest.approx(1, abs=1e-4)


def test_text_is_the_engines_whole_and_streamed(official: openai.OpenAI, bundles: dict[str, Path]) -> None:
    chunks = direct(bundles["plays"], GenerateRequest(prompt="Where is", max_tokens=12, temperature=0.0))
    expected = "".join(chunk.text for chunk in chunks)
    assert expected
    ask: dict[str, Any] = {"model": "plays", "prompt": "Where is", "max_tokens": 12, "temperature": 0}
    whole = official.completions.create(**ask)
    assert whole.choices[0].text == expected
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (chunks[-1].prompt_tokens, chunks[-1].completion_tokens)
    streamed = official.completions.create(**ask, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == expected


def test_what_an_engine_refuses_is_400_also_when_streamed(official: openai.OpenAI) -> None:
    long = "where is my card? " * 200
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError):
            official.completions.create(model="plays", prompt=long, max_tokens=8, stream=stream)
    with pytest.raises(openai.BadRequestError, match="does not fit"):
        official.completions.create(model="intents", prompt="x")
    with pytest.raises(openai.BadRequestError, match="does not fit"):
        official.embeddings.create(model="plays", input="x")


def test_likelihoods_choices_and_bound_answers_are_the_engines(official: openai.OpenAI, bundles: dict[str, Path]) -> None:
    request = GenerateRequest(prompt="Where is", max_tokens=4, temperature=0.0, logprobs=2)
    expected = [one for chunk in direct(bundles["plays"], request) for one in chunk.logprobs]
    ask: dict[str, Any] = {"model": "plays", "prompt": "Where is", "max_tokens": 4, "temperature": 0, "logprobs": 2}
    told = official.completions.create(**ask).choices[0].logprobs
    assert told is not None
    assert told.tokens == [one.token for one in expected]
    assert told.token_logprobs == pytest.approx([one.logprob for one in expected], abs=1e-3)
    echoed = official.completions.create(**ask, echo=True).choices[0]
    assert echoed.text.startswith("Where is")
    assert echoed.logprobs is not None
    assert echoed.logprobs.token_logprobs is not None
    assert echoed.logprobs.token_logprobs[0] is None  # type: ignore[comparison-overlap]  # so the API, not so its client's types
    assert len(echoed.logprobs.tokens or ()) > len(expected)
    only = official.completions.create(**{**ask, "max_tokens": 0}, echo=True)
    assert only.choices[0].text == "Where is"
    assert only.usage is not None
    assert only.usage.completion_tokens == 0
    three = official.completions.create(model="plays", prompt=["Where is", "When will"], n=3, max_tokens=6, temperature=1, seed=3)
    assert [choice.index for choice in three.choices] == list(range(6))
    assert len({choice.text for choice in three.choices[:3]}) > 1
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    said = official.chat.completions.create(
        model="plays", messages=[{"role": "user", "content": "hi"}], response_format=form, max_tokens=40, temperature=0
    )
    assert set(json.loads(said.choices[0].message.content or "")) == {"a"}


def test_dimensions_and_token_inputs_reach_the_encoder(official: openai.OpenAI) -> None:
    whole = official.embeddings.create(model="intents", input=LINES[0], encoding_format="float").data[0].embedding
    fewer = official.embeddings.create(model="intents", input=LINES[0], dimensions=8, encoding_format="float").data[0].embedding
    assert len(fewer) == 8
    norm = sum(x * x for x in whole[:8]) ** 0.5
    assert fewer == pytest.approx([x / norm for x in whole[:8]], abs=1e-4)
    tokens = official.embeddings.create(model="intents", input=[101, 2073, 2003, 102])
    assert len(tokens.data[0].embedding) == len(whole)
