"""`make platforms`: examples/banking77 on every platform, each by its emulator, with the real commands; prints a table.

Usage: python tools/platforms.py [small|full] [KIND …]. full: the file as it stands; small, unless said otherwise: a few steps of
training, no quantization, some of the rows to test. Exit code 1 when a platform did not serve, or something of it was left.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from penstock.stages.data.catalog import find_mirror
from penstock.testing.emulators.table import EMULATORS
from penstock.testing.everywhere import Seen, check

ROOT = Path(__file__).resolve().parent.parent
QUESTION = ("I forgot my passcode",)
SMALL = {"optimize": [], "gates": ["accuracy >= 0.15"], "evaluate": {"resamples": 200, "latency_requests": 20}}
TAUGHT = {"steps": 30, "batch_size": 16}
SPLIT = {"validation": 0.05, "test": 0.05, "stratify": True, "seed": 7}
HEAD = ("platform", "jobs", "endpoint", "answer", "left behind", "seconds")


def example(size: str) -> dict[str, Any]:
    """The pipeline of examples/banking77."""
    found: dict[str, Any] = YAML(typ="safe").load(ROOT / "examples" / "banking77" / "penstock.yaml")
    if size == "full":
        return found
    data = {**found["data"], "test": [], "split": SPLIT}
    return {**found, **SMALL, "data": data, "train": {**found["train"], **TAUGHT}}


def main(words: list[str]) -> int:
    size, kinds = (words[0], words[1:]) if words[:1] in (["small"], ["full"]) else ("small", words)
    if (mirror := find_mirror(ROOT)) is not None:
        os.environ["PENSTOCK_MIRROR"] = str(mirror)  # the projects lie elsewhere, where it would not be found
    rows, good = [HEAD], True
    for kind in kinds or ["local", *EMULATORS.names()]:
        print(f"penstock: {kind} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="penstock-") as folder:
            try:
                seen = check(kind, Path(folder), example(size), QUESTION)
            except RuntimeError as error:
                print(error, file=sys.stderr)
                seen = Seen(kind, "failed", "-", "", (), 0.0)
        good = good and seen.good
        answer = seen.answer if len(seen.answer) <= 40 else f"{seen.answer[:39]}…"
        rows.append((kind, seen.jobs, seen.endpoint, answer, ", ".join(seen.left) or "nothing", f"{seen.seconds:.0f}"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
