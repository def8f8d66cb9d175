"""The main job on real input: train, export, check, gate, deploy, ask; then say what came out. Behind `make quickstart`.

Usage: python examples/quickstart.py [banking77|shakespeare]

Banking77 comes through its named dataset entry (local mirror, else the public URL, checked by digest). Where neither
answers, the docstrings of Python's standard library stand in, with a gate of their own, and this says so loudly.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

EXAMPLES = Path(__file__).resolve().parent
# Test accuracy with all training data, in per cent; Casanueva et al. 2020 (arXiv:2003.04807), table 2.
PUBLISHED = {"banking77": [("BERT-large fine-tuned", 93.7), ("USE + ConveRT", 93.4)]}
QUESTIONS = {
    "banking77": ["I am still waiting for my new card to arrive", "Why was I charged twice for one payment?", "How do I change my PIN?"],
    "docstrings": ["Cancel the running task and wait for it.", "Add a header field to the message.", "Set the level of the logger."],
}
PROMPT = "ROMEO:"
REQUESTS = 300


@dataclass(frozen=True, slots=True)
class Example:
    """`entries`: what must be to be had; `fallback`: the folder that stands in when it is not."""

    folder: str
    entries: tuple[str, ...]
    fallback: str


CHOICES = {
    "banking77": Example("banking77", ("banking77/train", "banking77/test"), "docstrings"),
    "shakespeare": Example("shakespeare", ("tinyshakespeare",), "docstrings-text"),
}


def main(name: str) -> int:
    started = time.monotonic()
    folder = EXAMPLES / choose(CHOICES[name])
    os.chdir(folder)  # state lies beside the file, and the commands below are the ones a person would type there
    print(f"\n$ penstock plan penstock.yaml      # in {folder.relative_to(Path.cwd().parent.parent)}")
    command("plan", "penstock.yaml")
    print("\n$ penstock run penstock.yaml", flush=True)
    code = command("run", "penstock.yaml")
    if code:
        return code
    result = json.loads(output("runs", "show", "latest", "--json"))
    key = json.loads(output("keys", "create", "quickstart", "--json"))["key"]
    tell(folder.name, result, key, time.monotonic() - started)
    return 0


def choose(example: Example) -> str:
    from penstock.stages.data.catalog import available

    if all(available(entry) for entry in example.entries):
        return example.folder
    print("!" * 100)
    print(f"!! {', '.join(example.entries)}: neither a local mirror (PENSTOCK_MIRROR) nor the public URL answers.")
    print("!! Going on with ANOTHER REAL CORPUS: the docstrings of Python's standard library, with a gate of its own.")
    print("!" * 100)
    return example.fallback


def command(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "penstock", *arguments]).returncode


def output(*arguments: str) -> str:
    return subprocess.run([sys.executable, "-m", "penstock", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def tell(name: str, result: dict[str, Any], key: str, seconds: float) -> None:
    metrics, deployment, model = result["metrics"], result["deployment"], result["model"]
    url = deployment["url"]
    classify = "accuracy" in metrics
    print(f"\n{'─' * 100}\n{model['name']}:{model['version']}   {model['digest']}")
    if classify:
        low, high = metrics.get("accuracy.low"), metrics.get("accuracy.high")
        interval = f"   (95 % interval {low:.2%} – {high:.2%})" if low is not None and high is not None else ""
        print(f"test accuracy        {metrics['accuracy']:.2%}{interval}")
        for published, value in PUBLISHED.get(name, []):
            print(f"  published          {value:.1f} %  {published} (Casanueva et al. 2020, as recalled)")
    else:
        print(f"test perplexity      {metrics['perplexity']:.2f} per token, {metrics['bits_per_character']:.3f} bits per character")
    before, after = metrics.get("size_before_bytes"), metrics.get("size_after_bytes")
    if before and after:
        print(f"size                 {before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after ({after / before:.0%})")
    live = Client(url, key)
    p50, p95 = live.latencies("/v1/classify" if classify else "/v1/completions", body(deployment["name"], classify, name))
    print(f"latency, one client  p50 {p50:.2f} ms, p95 {p95:.2f} ms through the gateway")
    if classify:
        questions = QUESTIONS[name]
        answer = live.post("/v1/classify", {"model": deployment["name"], "input": questions})
        for row, question in zip(answer["data"], questions, strict=True):
            print(f"  {question!r} → {row['label']} ({row['score']:.2f})")
    else:
        answer = live.post("/v1/completions", {"model": deployment["name"], "prompt": PROMPT, "max_tokens": 60, "seed": 1})
        print(f"  {PROMPT}{answer['choices'][0]['text']}")
    path = "/v1/classify" if classify else "/v1/completions"
    print(f"\nserving at {url}; ask it:")
    print(f"  curl -s {url}{path} -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\")
    print(f"    -d '{json.dumps(body(deployment['name'], classify, name))}'")
    print(f"stop it:  cd examples/{name} && penstock down      (or: make stop)")
    print(f"report:   {output('runs', 'report').strip()}\ndone in {seconds:.0f} s")


def body(model: str, classify: bool, example: str) -> dict[str, Any]:
    if classify:
        return {"model": model, "input": QUESTIONS[example][0], "top_k": 3}
    return {"model": model, "prompt": PROMPT, "max_tokens": 16}


class Client:
    """One connection that is kept open, as a service would."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def post(self, path: str, value: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + 5
        while True:
            self._connection.request("POST", path, json.dumps(value), self._headers)
            response = self._connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
            if response.status == 200:
                return answer
            # A key made a moment ago reaches the gateway with its next snapshot.
            if response.status != 401 or time.monotonic() > deadline:
                sys.exit(f"{path} answered {response.status}: {answer}")
            time.sleep(0.05)

    def latencies(self, path: str, value: dict[str, Any]) -> tuple[float, float]:
        """p50 and p95 in milliseconds over REQUESTS requests, one after another."""
        self.post(path, value)
        taken = []
        for _ in range(REQUESTS if "classify" in path else REQUESTS // 10):
            started = time.perf_counter()
            self.post(path, value)
            taken.append(1000 * (time.perf_counter() - started))
        quantiles = statistics.quantiles(taken, n=20)
        return statistics.median(taken), quantiles[18]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "banking77"))
