"""The story's data from Banking77: a third of the intents is held back at first, and half of the test rows is kept for live traffic."""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Size:
    """`intents` of the 77; `rows` to train on an intent at most."""

    intents: int
    rows: int
    epochs: int
    rate: float  # requests a second


FULL = Size(intents=77, rows=80, epochs=5, rate=40.0)
SMALL = Size(intents=18, rows=50, epochs=4, rate=30.0)


def write(folder: Path, size: Size) -> tuple[list[str], list[str]]:
    """Writes train.csv, test.csv (of known intents), shuffled.csv (wrong labels), known.csv and new.csv (live traffic).

    Returns the known and the held-back intents. Exits where Banking77 is not to be had.
    """
    train, test = rows("banking77/train"), rows("banking77/test")
    intents = sorted({label for _, label in train}, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[: size.intents]
    held = sorted(intents[::3])
    known = sorted(set(intents) - set(held))
    folder.mkdir(parents=True, exist_ok=True)
    taught = [row for label in known for row in [r for r in train if r[1] == label][: size.rows]]
    table(folder / "train.csv", taught)
    shifted = {label: known[(n + 1) % len(known)] for n, label in enumerate(known)}
    table(folder / "shuffled.csv", [(text, shifted[label]) for text, label in taught])
    table(folder / "test.csv", [r for r in test if r[1] in known and not live(r[0])])
    table(folder / "known.csv", [*(r for r in test if r[1] in known and live(r[0])), *spare(train, known, size)])
    table(folder / "new.csv", [r for r in [*train, *test] if r[1] in held])
    return known, held


def live(text: str) -> bool:
    """Half of all texts, by their digest."""
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 0


def spare(train: Sequence[tuple[str, str]], known: Sequence[str], size: Size) -> list[tuple[str, str]]:
    """Training rows that are not trained on: more traffic that the model has not seen."""
    return [row for label in known for row in [r for r in train if r[1] == label][size.rows :]]


def rows(entry: str) -> list[tuple[str, str]]:
    from penstock.core.errors import PenstockError
    from penstock.core.home import Home
    from penstock.stages.data.catalog import entry_named, find_mirror, resolve

    try:
        path = resolve(entry_named(entry), find_mirror(Path(__file__).parent), Home.find(Path(__file__).parent).cache).path
    except PenstockError as error:
        sys.exit(f"{entry} is not to be had: {error}\n{error.way_out}")
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def table(path: Path, found: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "category"))
        writer.writerows(found)
