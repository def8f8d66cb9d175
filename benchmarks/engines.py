"""Our engines beside the runtime they stand on and beside torch, in one process: what the asyncio path and its batching cost or win.

Encoder: packaged MiniLM with 77 classes, Banking77 sentences where the mirror has them. Decoder: a Llama shape of 8 × 512 with weights that
saw two steps, 64 new tokens a stream. Each number is the best of three rounds, the contenders taking turns; ratios are to raw OpenVINO.
Not covered: HTTP (see classify.py and gateway.py).
"""

from __future__ import annotations

import asyncio
import csv
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars

from penstock.core.digests import files_under
from penstock.engines.contract import ClassifyRequest, Engine, GenerateRequest, Text
from penstock.engines.encoding import Encoder
from penstock.engines.table import open_engine
from penstock.engines.wording import Wording
from penstock.spec.pipeline import OptimizeRule
from penstock.spec.steps import BundleConfig, OptimizeConfig
from penstock.stages.bundle.stage import BundleStage
from penstock.stages.optimize.stage import OptimizeStage
from penstock.testing.small_models import decoder_model, encoder_model, packaged_minilm
from penstock.testing.stages import FolderInputs, run_stage

ROUNDS = 3
TEXTS = 512
NEW_TOKENS = 64
MEDIUM = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8}
PLAY = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\nSecond Citizen:\nWould you proceed?\n"


def sentences() -> list[str]:
    mirror = Path(os.environ.get("PENSTOCK_MIRROR") or Path(__file__).resolve().parents[2] / "shared" / "data")
    source = mirror / "banking77" / "train.csv"
    if not source.is_file():
        return [f"why was my card number {at} declined at the shop today" for at in range(10_000)]
    with source.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def bundle(root: Path, model: Path, texts: list[str], task: str, *quantized: str) -> Path:
    rows = root / "rows"
    rows.mkdir(parents=True)
    polars.DataFrame({"text": texts[64:]}).write_parquet(rows / "train.parquet")
    polars.DataFrame({"text": texts[:64]}).write_parquet(rows / "validation.parquet")
    rules = tuple(OptimizeRule.model_validate({"quantize": to}) for to in quantized)
    given = FolderInputs({"model": model, "dataset": rows}, {"model": {"max_length": 128}})
    made = run_stage(OptimizeStage(), OptimizeConfig.model_validate({"task": task, "rules": rules}), root / "o", given)
    export = FolderInputs({"export": made.outputs.root / "export"})
    config = BundleConfig.model_validate({"name": "bench", "task": task})
    return run_stage(BundleStage(), config, root / "b", export).outputs.root / "bundle"


def best(contenders: dict[str, Callable[[], int]]) -> dict[str, tuple[float, float]]:
    """Items/s of wall time and of CPU time; every contender returns how many items it did."""
    found = dict.fromkeys(contenders, (0.0, 0.0))
    for _ in range(ROUNDS):
        for name, work in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            done = work()
            speeds = (done / (time.perf_counter() - wall), done / (time.process_time() - cpu))
            found[name] = (max(found[name][0], speeds[0]), max(found[name][1], speeds[1]))
    return found


def table(title: str, unit: str, found: dict[str, tuple[float, float]], base: str) -> None:
    print(f"{title}\n  {'':34}{unit + '/s':>12}{unit + '/CPU-s':>16}{'ratio':>8}{'CPU ratio':>11}")
    for name, (wall, cpu) in found.items():
        print(f"  {name:34}{wall:12,.0f}{cpu:16,.0f}{wall / found[base][0]:8.2f}{cpu / found[base][1]:11.2f}", flush=True)


async def classify(engine: Engine, texts: list[str], callers: int) -> int:
    left = iter(texts)

    async def caller() -> None:
        for text in left:
            async for _ in engine.generate(ClassifyRequest([text], top_k=1)):
                pass

    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(texts)


async def generate(engine: Engine, streams: int) -> int:
    async def stream(at: int) -> int:
        asked = GenerateRequest(prompt=f"{at} {PLAY[:48]}", max_tokens=NEW_TOKENS, temperature=0)
        last = [chunk async for chunk in engine.generate(asked)][-1]
        return last.completion_tokens if isinstance(last, Text) else 0

    return sum(await asyncio.gather(*(stream(at) for at in range(streams))))


def encoders(folder: Path, model: Path, texts: list[str], title: str) -> None:
    import openvino
    import torch
    from transformers import AutoModelForSequenceClassification

    encoder = Encoder.read(folder, 128)
    ids = [one.ids for one in encoder.encode(texts)]
    single = [encoder.pad_rows([row]) for row in ids]
    ordered = sorted(ids, key=len)
    batched = [encoder.pad_rows(ordered[at : at + 32]) for at in range(0, len(ordered), 32)]
    loop, engine = asyncio.new_event_loop(), open_engine(folder)
    compiled = openvino.Core().compile_model(
        folder / "openvino_model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    )
    request, reference = compiled.create_infer_request(), AutoModelForSequenceClassification.from_pretrained(model).eval()

    def raw(batches: list[tuple[np.ndarray, np.ndarray]]) -> int:
        for batch in batches:
            request.infer(list(batch))
        return sum(len(batch[0]) for batch in batches)

    def torch_raw(batches: list[tuple[np.ndarray, np.ndarray]]) -> int:
        with torch.inference_mode():
            for batch in batches:
                reference(input_ids=torch.from_numpy(batch[0]), attention_mask=torch.from_numpy(batch[1]))
        return sum(len(batch[0]) for batch in batches)

    raw(batched), torch_raw(batched[:2])
    one = {
        "raw OpenVINO, batch 1": lambda: raw(single[:200]),
        "ours, 1 caller": lambda: loop.run_until_complete(classify(engine, texts[:200], 1)),
        "torch float32, batch 1": lambda: torch_raw(single[:100]),
    }
    many = {
        "raw OpenVINO, batch 32, sorted": lambda: raw(batched),
        "ours, 32 callers, unsorted": lambda: loop.run_until_complete(classify(engine, texts, 32)),
        "ours, 64 callers, unsorted": lambda: loop.run_until_complete(classify(engine, texts, 64)),
        "torch float32, batch 32, sorted": lambda: torch_raw(batched[:4]),
    }
    table(f"encoder {title}, one at a time (tokens ready for raw and torch; ours tokenizes)", "texts", best(one), "raw OpenVINO, batch 1")
    table(f"encoder {title}, many", "texts", best(many), "raw OpenVINO, batch 32, sorted")
    loop.run_until_complete(engine.close())


def decoders(folder: Path, model: Path, title: str) -> None:
    import openvino
    import openvino_genai
    import torch
    from transformers import AutoModelForCausalLM

    loop, engine = asyncio.new_event_loop(), open_engine(folder, settings={"prefix_cache": False})
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens, scheduler.dynamic_split_fuse, scheduler.cache_size = 512, True, 0
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU")
    wording, reference = Wording.read(folder, 256), AutoModelForCausalLM.from_pretrained(model).eval()
    settings = openvino_genai.GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, ignore_eos=True)
    prompts = [wording.tokenizer.encode(f"{at} {PLAY[:48]}").ids for at in range(8)]

    def raw(streams: int) -> int:
        given = [openvino.Tensor(np.asarray([ids], np.int64)) for ids in prompts[:streams]]
        return sum(len(one.m_generation_ids[0]) for one in pipeline.generate(given, [settings] * streams))

    def torch_raw(streams: int) -> int:
        width = min(map(len, prompts))
        ids = torch.tensor([row[:width] for row in prompts[:streams]])
        with torch.inference_mode():
            found = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
        return int(found.shape[0] * (found.shape[1] - width))

    for streams in (1, 8):
        contenders = {
            "raw OpenVINO GenAI": lambda n=streams: raw(n),
            "ours": lambda n=streams: loop.run_until_complete(generate(engine, n)),
            "transformers generate, float32": lambda n=streams: torch_raw(n),
        }
        table(f"decoder {title}, {streams} stream(s)", "tokens", best(contenders), "raw OpenVINO GenAI")
    loop.run_until_complete(engine.close())


def main() -> None:
    texts, base = sentences(), packaged_minilm()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        if base is None:
            print("encoder: skipped, the package that carries MiniLM is not installed")
        else:
            model = encoder_model(root / "encoder", base, [f"intent-{at}" for at in range(77)])
            for quantized in ((), ("int8",)):
                made = bundle(root / f"encoder-{len(quantized)}", model, texts[:1000], "text-classification", *quantized)
                encoders(made, model, texts[1000 : 1000 + TEXTS], quantized[0] if quantized else "f32")
        small = decoder_model(root / "decoder", PLAY * 80, context=256, steps=2, shape=MEDIUM)
        for quantized in ((), ("int8",)):
            made = bundle(root / f"decoder-{len(quantized)}", small, [PLAY] * 100, "text-generation", *quantized)
            size = sum(path.stat().st_size for path in files_under(made)) / 1e6
            decoders(made, small, f"{quantized[0] if quantized else 'f32'} ({size:.0f} MB)")


if __name__ == "__main__":
    main()
