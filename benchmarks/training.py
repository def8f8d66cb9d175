"""Fine-tuning beside stock `transformers.Trainer`: same MiniLM, rows, batch size, epochs, learning rate and threads, in one run.

Each contender is a process of its own; prints samples/s, samples per CPU-second, accuracy on the published test rows, the ratio,
and which share of this machine's measured bf16 matmul speed the arithmetic of the model (6 × weights × tokens) makes.
Not covered: evaluation and checkpoints of the peer are off; ours are on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

COMMON = """
import json, resource, sys, time, warnings
from pathlib import Path
asked = json.loads(sys.argv[1])
import numpy as np, pyarrow.parquet as pq, torch, transformers
transformers.utils.logging.set_verbosity_error(); transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(asked["threads"])
dataset, base, work = Path(asked["dataset"]), Path(asked["base"]), Path(asked["work"])

def rows(split):
    table = pq.read_table(dataset / f"{split}.parquet")
    return table.column("text").to_pylist(), table.column("label").to_pylist()

def cpu_s():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

def report(model, tokenizer, count, seconds, cpu):
    texts, labels = rows("test")
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    right = 0
    model = model.float().eval()
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            inputs = tokenizer([texts[i] for i in chosen], padding=True, truncation=True, max_length=128, return_tensors="pt")
            found = model(**inputs).logits.argmax(1)
            right += sum(int(g) == labels[i] for g, i in zip(found, chosen))
    tokens = np.mean([len(r) for r in tokenizer(rows("train")[0])["input_ids"]])
    speed = {"samples_per_s": count / seconds, "samples_per_cpu_s": count / cpu}
    print(json.dumps({**speed, "accuracy": right / len(texts), "tokens": float(tokens)}))
"""
OURS = """
from penstock.core.digests import digest_folder
from penstock.spec.pipeline import Train
from penstock.spec.steps import TrainConfig
from penstock.stages.train import loop, threads
from penstock.stages.train.stage import TrainStage
from penstock.testing.stages import FolderInputs, run_stage

threads.choose = lambda seconds: asked["threads"]  # the same for all contenders
clock, inner = [0.0, 0.0], loop.Loop.run
def timed(self):
    start, cpu = time.perf_counter(), cpu_s()
    done = inner(self)
    clock[:] = [time.perf_counter() - start, cpu_s() - cpu]
    return done
loop.Loop.run = timed
digest = digest_folder(base)
train = Train(epochs=asked["epochs"], batch_size=asked["batch"], learning_rate=asked["rate"])
config = TrainConfig(task="text-classification", base_digest=digest, train=train)
run = run_stage(TrainStage(), config, work, FolderInputs({"dataset": dataset}, externals={digest: base}), threads=asked["threads"])
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model, tokenizer = (kind.from_pretrained(work / "outputs/model") for kind in (AutoModelForSequenceClassification, AutoTokenizer))
report(model, tokenizer, run.metrics["steps"] * asked["batch"], *clock)
"""
PEER = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

texts, labels = rows("train")
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=max(labels) + 1)
encoded = tokenizer(texts, truncation=True, max_length=128)
items = [{"input_ids": i, "attention_mask": m, "label": y} for i, m, y in zip(encoded["input_ids"], encoded["attention_mask"], labels)]
arguments = TrainingArguments(
    str(work), num_train_epochs=asked["epochs"], per_device_train_batch_size=asked["batch"], learning_rate=asked["rate"],
    warmup_steps=asked["warmup"], weight_decay=0.01, bf16=asked["bf16"], use_cpu=True,
    save_strategy="no", report_to=[], logging_steps=50, seed=7, disable_tqdm=True,
)
trainer = Trainer(model, arguments, train_dataset=items, data_collator=DataCollatorWithPadding(tokenizer))
start, cpu = time.perf_counter(), cpu_s()
trainer.train()
report(model, tokenizer, len(items) * asked["epochs"], time.perf_counter() - start, cpu_s() - cpu)
"""
PEAK = """
n, dtype = 2048, torch.bfloat16
a, b, best = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype), 1e9
for _ in range(12):
    start = time.perf_counter(); a @ b; best = min(best, time.perf_counter() - start)
print(json.dumps({"flop_per_s": 2 * n**3 / best}))
"""


def measured(code: str, asked: dict[str, object]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-c", COMMON + code, json.dumps({**asked, "work": work})]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def thinned(dataset: Path, rows: int, folder: Path) -> Path:
    """A copy of the dataset with about `rows` rows in train and in test, evenly drawn."""
    import pyarrow.parquet as pq

    for split in ("train", "validation", "test"):
        table = pq.read_table(dataset / f"{split}.parquet")
        kept = table if split == "validation" else table.take(list(range(0, len(table), max(1, len(table) // rows))))
        pq.write_table(kept, folder / f"{split}.parquet")
    (folder / "labels.json").write_bytes((dataset / "labels.json").read_bytes())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, nargs="?", help="folder of a dataset artifact; default: Banking77, made for the occasion")
    parser.add_argument("--rows", type=int, default=2500, help="train and test on about this many rows; 0: all")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=4e-4)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()

    from penstock.stages.train.bases import locate_base

    base = locate_base("minilm", Path.cwd(), Path(tempfile.gettempdir()))[0]
    with tempfile.TemporaryDirectory() as folder:
        whole = given.dataset or banking77(Path(folder))
        dataset = thinned(whole, given.rows, Path(folder)) if given.rows else whole
        compare(given, {**vars(given), "dataset": str(dataset), "base": str(base), "warmup": 18 * given.epochs})


def banking77(folder: Path) -> Path:
    """The data step of the example, run by the command in a home of its own."""
    text = (Path(__file__).resolve().parent.parent / "examples" / "banking77" / "penstock.yaml").read_text()
    (folder / "penstock.yaml").write_text(text.partition("train:")[0])
    command = [sys.executable, "-m", "penstock", "run", str(folder / "penstock.yaml"), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).resolve().parent)
    digest = json.loads(done.stdout)["artifacts"][0]["digest"]

    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

    home = Home.find(folder, {})
    return Artifacts(home.artifacts_url, home.cache).materialize(digest)


def compare(given: argparse.Namespace, asked: dict[str, object]) -> None:
    peak = measured(PEAK, asked)["flop_per_s"]
    print(f"bf16 matmul on {given.threads} threads: {peak / 1e9:.0f} GFLOP/s")
    results = {"Penstock": measured(OURS, asked)}
    results["Trainer fp32 (its default)"] = measured(PEER, {**asked, "bf16": False})
    results["Trainer bf16"] = measured(PEER, {**asked, "bf16": True})
    weights = 10.65e6  # of the layers that every token passes
    for name, found in results.items():
        share = 6 * weights * found["tokens"] * found["samples_per_s"] / peak
        print(
            f"{name:28s} {found['samples_per_s']:7.1f} samples/s {found['samples_per_cpu_s']:7.1f} per CPU-second  "
            f"accuracy {found['accuracy']:.4f}  {share:.1%} of peak"
        )
    ours = results.pop("Penstock")
    for name, found in results.items():
        wall, cpu = (ours[k] / found[k] for k in ("samples_per_s", "samples_per_cpu_s"))
        print(f"Penstock / {name}: {wall:.2f}× samples/s, {cpu:.2f}× per CPU-second (budget ≥ 1.5)")


if __name__ == "__main__":
    main()
