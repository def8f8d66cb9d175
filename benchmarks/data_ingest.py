"""Data stage beside Hugging Face `datasets` doing the same work, and beside `polars.read_csv` doing nothing but read and write.

Same work: read a CSV of two columns, normal form, exact dedup after case folding, class numbers, stratified 80/10/10 split, Parquet.
Each contender is a process of its own; prints rows/s, MB/s, CPU seconds, peak memory and ratios. Ours also writes ids, the
quarantine, the removed rows, statistics and cards.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from peer import environment

DATASETS = ("datasets==5.0.1", "pandas==3.1.1", "scikit-learn==1.9.1")
WORDS = ("card", "payment", "transfer", "account", "why", "was", "my", "the", "not", "charged", "fee", "cash", "rate", "top", "up", "pin")
MEASURE = """
import json, resource, sys, time
start, cpu = time.perf_counter(), time.process_time()
rows = work(sys.argv[1], sys.argv[2])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "peak_mib": used.ru_maxrss / 1024, "rows": rows}))
"""
OURS = """
def work(source, target):
    from pathlib import Path
    from penstock.core.digests import digest_file
    from penstock.spec.pipeline import Data
    from penstock.spec.steps import DataConfig, ResolvedSource
    from penstock.stages.data.stage import DataStage
    from penstock.testing.stages import FolderInputs, run_stage

    data = Data.model_validate({"sources": [{"uri": source, "label": "label"}], "clean": ["normalize", "dedup"]})
    given = ResolvedSource(digest=digest_file(source), file_name="rows.csv", source=data.sources[0])
    config = DataConfig(task="text-classification", sources=(given,), test=(), clean=data.clean, split=data.split)
    run = run_stage(DataStage(), config, Path(target), FolderInputs(externals={given.digest: Path(source)}))
    return sum(run.metrics[f"rows.{name}"] for name in ("train", "validation", "test"))
"""
PEER = """
def work(source, target):
    import unicodedata
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()

    def normal(batch):
        return {"text": [" ".join(unicodedata.normalize("NFC", t).split()) for t in batch["text"]]}

    seen = set()

    def first(batch):
        kept = []
        for text in batch["text"]:
            folded = text.casefold()
            kept.append(folded not in seen)
            seen.add(folded)
        return kept

    rows = Dataset.from_csv(source, cache_dir=target + "/cache").map(normal, batched=True).filter(first, batched=True)
    rows = rows.class_encode_column("label")
    rest = rows.train_test_split(0.2, stratify_by_column="label", seed=7)
    half = rest["test"].train_test_split(0.5, stratify_by_column="label", seed=7)
    for name, part in (("train", rest["train"]), ("validation", half["train"]), ("test", half["test"])):
        part.to_parquet(f"{target}/{name}.parquet")
    return len(rows)
"""
FLOOR = """
def work(source, target):
    import polars

    rows = polars.read_csv(source, infer_schema=False)
    rows.write_parquet(target + "/rows.parquet")
    return rows.height
"""


def write_rows(path: Path, count: int, seed: int = 1) -> None:
    """Made-up support questions, 2 % of them repeated in another case."""
    draw = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        last = "first"
        for number in range(count):
            text = last.upper() if draw.random() < 0.02 else f"{' '.join(draw.choices(WORDS, k=12))} {number}"
            last = text
            writer.writerow([text, f"class_{draw.randrange(50)}"])


def measured(python: str | Path, program: str, source: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as target:
        command = [str(python), "-c", program + MEASURE, str(source), target]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    with source.open("rb") as file:
        given = sum(1 for _ in file) - 1
    return {**json.loads(done.stdout.splitlines()[-1]), "given": given}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=300_000)
    options.add_argument("--no-peer", action="store_true", help="leave Hugging Face datasets out (nothing is installed)")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.csv"
        write_rows(source, given.rows)
        size_mb = source.stat().st_size / 1e6
        contenders = {"penstock data stage": (sys.executable, OURS), "polars read + write only": (sys.executable, FLOOR)}
        if not given.no_peer:
            contenders["Hugging Face datasets"] = (str(environment("datasets", DATASETS)), PEER)
        print(f"{given.rows:,} rows, {size_mb:.1f} MB")
        found = {name: measured(*contender, source) for name, contender in contenders.items()}
        for name, run in found.items():
            print(described(name, run, size_mb, found["penstock data stage"]))
        write_rows(source, given.rows * 4)
        print(described("ours at 4 × the rows", measured(sys.executable, OURS, source), size_mb * 4, found["penstock data stage"]))


def described(name: str, run: dict[str, float], size_mb: float, ours: dict[str, float]) -> str:
    """Speeds by the clock and by CPU time; what a shared machine leaves comparable is the ratio of CPU time."""
    speed = (
        f"{run['given'] / run['s']:>9,.0f} rows/s {size_mb / run['s']:>6.1f} MB/s {run['cpu_s']:>6.2f} CPU s {run['peak_mib']:>6,.0f} MiB"
    )
    per_row = run["cpu_s"] / run["given"] / (ours["cpu_s"] / ours["given"])
    return f"{name:<25}{speed}  | beside ours: CPU per row × {per_row:.2f}, memory × {run['peak_mib'] / ours['peak_mib']:.2f}"


if __name__ == "__main__":
    main()
