"""How long a function sleeps on when it is called: a fresh process until its first answer, beside the same MiniLM by transformers.

Ours: the handler of AWS Lambda over a bundle that lies in the image, every byte of it verified, an HTTP event in and out. Theirs:
tokenizer, model, one sentence, no HTTP form, nothing verified. Medians of some starts, files in the page cache; CPU seconds beside wall
seconds, for the machine is shared.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from classify import SENTENCES, make_bundle, make_model

PHASES = ("start", "load", "warm_up", "first_answer")
OURS = """
import json, os, sys, time
from penstock.platforms.function.lambdas import handler_of
from penstock.platforms.function.function import opened


class Context:
    aws_request_id = "bench"

    def get_remaining_time_in_millis(self):
        return 60000


function = opened(os.environ)
handler = handler_of(function)
http = {"method": "POST", "path": "/v1/classify"}
body = json.dumps({"model": "intents", "input": sys.argv[1], "top_k": 1})
event = {"version": "2.0", "rawPath": "/v1/classify", "requestContext": {"http": http, "stage": "$default"}, "body": body}
before = time.monotonic()
answer = handler(event, Context())
first = time.monotonic() - before
label = json.loads(answer["body"])["data"][0]["label"]
cold = function.replica.cold
print(json.dumps([label, cold.start_seconds, cold.load_seconds, cold.warm_up_seconds, first]))
"""
THEIRS = """
import json, sys, time
import psutil
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

start = time.time() - psutil.Process().create_time()
before = time.monotonic()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
model = AutoModelForSequenceClassification.from_pretrained(sys.argv[2]).eval()
loaded = time.monotonic()
with torch.inference_mode():
    logits = model(**tokenizer([sys.argv[1]], return_tensors="pt")).logits
label = model.config.id2label[int(logits.argmax())]
print(json.dumps([label, start, loaded - before, 0.0, time.monotonic() - loaded]))
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Of one process: seconds of each phase, from its start to its end, and of CPU."""

    label: str
    phases: tuple[float, ...]
    wall_s: float
    cpu_s: float


def started(program: str, arguments: list[str], environ: dict[str, str]) -> Start:
    before, cpu = time.monotonic(), os.times()
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    wall, after = time.monotonic() - before, os.times()
    label, *phases = json.loads(done.stdout.splitlines()[-1])
    used = after.children_user + after.children_system - cpu.children_user - cpu.children_system
    return Start(label, tuple(phases), wall, used)


def baked(bundle: Path, root: Path) -> dict[str, str]:
    """The bundle as an image holds it, and the variables that lead to it."""
    from penstock.store.artifacts import Artifacts

    made = Artifacts(str(root / "store"), root / "cache").commit(bundle, "bundle", {})
    place = root / "baked"
    place.mkdir()
    (place / "files").symlink_to(bundle)
    (place / "manifest.json").write_bytes(made.data)
    serving = {"bundle": made.digest, "folder": str(place), "model": "intents", "version": "1"}
    return {"PENSTOCK_SERVING": json.dumps(serving), "PENSTOCK_HOME": str(root / "home")}


def show(name: str, found: list[Start]) -> tuple[float, float]:
    wall, cpu = (statistics.median(values) for values in ([one.wall_s for one in found], [one.cpu_s for one in found]))
    phases = (statistics.median(one.phases[at] for one in found) for at in range(len(PHASES)))
    told = "  ".join(f"{phase} {seconds * 1e3:6.0f} ms" for phase, seconds in zip(PHASES, phases, strict=True))
    print(f"{name:14} {told}   process {wall:6.2f} s, CPU {cpu:5.2f} s", flush=True)
    return wall, cpu


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--precision", nargs="+", default=["f32", "int8"], choices=["f32", "int8"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        root = Path(made)
        make_model(root / "model")
        offline = {"HF_HUB_OFFLINE": "1"}
        theirs = [started(THEIRS, [SENTENCES[0], str(root / "model")], offline) for _ in range(given.starts + 1)][1:]
        peer = show("transformers", theirs)
        for precision in given.precision:
            folder = root / f"function-{precision}"
            folder.mkdir()
            environ = baked(make_bundle(root / "model", root / precision, precision), folder)
            ours = [started(OURS, [SENTENCES[0]], environ) for _ in range(given.starts + 1)][1:]
            if precision == "f32" and ours[0].label != theirs[0].label:
                sys.exit(f"the answers differ: {ours[0].label} and {theirs[0].label}")
            wall, cpu = show(f"Penstock {precision}", ours)
            print(f"{'':14} {wall / peer[0]:.2f}x the wall time, {cpu / peer[1]:.2f}x the CPU", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
