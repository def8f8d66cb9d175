"""lm-eval's `local-completions` through our gateway beside our own scoring: the same texts, the same bundle, two ways to the number.

A small decoder trained here is bundled in exact mode (f32). lm-eval, in an environment of its own, asks the gateway with token ids,
echo and logprobs (rolling log-likelihood), and lets it continue prompts (generate_until); our engine does the same directly.
Prints one JSON line: nats of all texts both ways, their relative difference, the share of equal continuations. Exit 1 if they
disagree, 2 where the environment cannot be made.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from engines import bundle
from peer import environment
from penstock.engines.contract import GenerateRequest, Request, ScoreRequest
from penstock.engines.table import open_engine
from penstock.testing.serving import SECRET, Stage, snapshot_of
from penstock.testing.small_models import decoder_model

VERSION = "0.4.13"
NEEDS = (
    *("evaluate", "datasets==5.0.1", "pytablewriter", "rouge-score", "sacrebleu", "sqlitedict", "dill", "word2number", "more_itertools"),
    *("multiprocess", "xxhash", "pandas", "pyarrow", "portalocker", "nltk", "absl-py", "DataProperty", "mbstrdecoder", "pathvalidate"),
    *("tabledata", "tcolorpy", "typepy", "chardet", "python-dateutil", "pytz", "six", "tabulate", "colorama", "lxml", "fsspec", "httpx"),
)
EXACT = {"inference_precision": "f32", "cache_precision": "f32"}
BEGIN, CONTEXT, ANSWER_TOKENS = "<|end|>", 64, 6
LINES = [f"Where is my card number {n}, and when will the money come?" for n in range(200)]
DOCS = [f"My card number {n} is lost, when will a new one come?" for n in range(24)]
ASKED = [f"Where is my card number {n}, and" for n in range(12)]
ROLLING = {
    "task": "our_perplexity",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "bits_per_byte"}, {"metric": "byte_perplexity"}],
}
CONTINUING = {
    "task": "our_continuations",
    "output_type": "generate_until",
    "doc_to_text": "{{text}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["?", "\n\n"], "max_gen_toks": ANSWER_TOKENS, "do_sample": False},
    "metric_list": [{"metric": "exact_match"}],
}
TOLERANCE = 1e-4  # relative; sums of float32 in another order


def python() -> Path:
    """lm-eval does not resolve beside our pins, so: its own environment, with torch and transformers lent from ours."""
    found = environment("lm-eval", ("--no-deps", f"lm-eval=={VERSION}"), ("--no-deps", *NEEDS))
    [site] = found.parent.parent.glob("lib/python*/site-packages")
    (site / "zz-lent.pth").write_text(sysconfig.get_paths()["purelib"])  # its own packages come first
    return found


async def directly(folder: Path) -> tuple[float, list[str]]:
    """Our own numbers: nats of all DOCS, each after the beginning of a text, and the greedy continuations of ASKED."""
    engine = open_engine(folder, settings=EXACT)

    async def all_of(request: Request) -> list[Any]:
        return [chunk async for chunk in engine.generate(request)]

    scored = [(await all_of(ScoreRequest(BEGIN + text)))[0] for text in DOCS]
    said = []
    for text in ASKED:
        chunks = await all_of(GenerateRequest(prompt=text, max_tokens=ANSWER_TOKENS, temperature=0.0, stop=("?", "\n\n")))
        said.append("".join(chunk.text for chunk in chunks))
    await engine.close()
    return sum(one.nats for one in scored), said


def harness(runner: Path, root: Path, url: str, tokenizer: Path, said: list[str]) -> dict[str, Any]:
    """lm-eval's results by task."""
    tasks = root / "tasks"
    tasks.mkdir()
    rows = {"our_perplexity": [{"text": text} for text in DOCS]}
    rows["our_continuations"] = [{"text": text, "answer": answer} for text, answer in zip(ASKED, said, strict=True)]
    for task in (ROLLING, CONTINUING):
        name = str(task["task"])
        (tasks / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[name]))
        data = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(tasks / f"{name}.jsonl")}}, "test_split": "test"}
        (tasks / f"{name}.yaml").write_text(json.dumps({**task, **data}))  # JSON is YAML
    arguments = f"model=plays,base_url={url}/v1/completions,tokenizer={tokenizer},tokenizer_backend=huggingface,max_length={CONTEXT}"
    command = [
        str(runner),
        "-m",
        "lm_eval",
        "run",
        "--model",
        "local-completions",
        "--model_args",
        f"{arguments},num_concurrent=2,max_retries=1",
    ]
    command += [
        "--tasks",
        "our_perplexity,our_continuations",
        "--include_path",
        str(tasks),
        "--output_path",
        str(root / "out"),
        "--batch_size",
        "4",
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(root / "hf"), "OPENAI_API_KEY": SECRET, "no_proxy": "*"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, timeout=300)
    if done.returncode:
        sys.exit(f"lm-eval failed:\n{done.stderr[-3000:]}")
    [results] = (root / "out").rglob("results_*.json")
    found: dict[str, Any] = json.loads(results.read_bytes())["results"]
    return found


def main() -> int:
    try:
        runner = python()
    except subprocess.CalledProcessError as error:
        print(f"lm-eval's environment cannot be made: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        root = Path(folder)
        model = decoder_model(root / "model", "\n\n".join(LINES), context=CONTEXT)
        made = bundle(root / "bundle", model, LINES, "text-generation")
        nats, said = asyncio.run(directly(made))
        replica = stage.replica("plays-1", "plays", bundle=str(made), engine_class=None, settings=EXACT)
        gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica]), model="plays"))
        found = harness(runner, root, gateway.url, model, said)
    theirs = found["our_perplexity"]["bits_per_byte,none"] * sum(len(text.encode()) for text in DOCS) * math.log(2)
    difference, same = abs(theirs - nats) / nats, found["our_continuations"]["exact_match,none"]
    print(json.dumps({"nats_ours": nats, "nats_lm_eval": theirs, "relative_difference": difference, "continuations_equal": same}))
    return 0 if difference < TOLERANCE and same == 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
