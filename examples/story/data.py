"""The story's data from Banking77: a third of the intents is held back at first; rows of the others are dealt out.

All rows of an intent are shuffled by their digests and dealt to training, test and traffic in the same proportions, so that all three are
of one distribution: Banking77's own training and test rows are not (another mix of intents), and drift would rightly be seen at once.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Row = tuple[str, str]  # text, intent


@dataclass(frozen=True, slots=True)
class Size:
    """`intents` of the 77; `taught` and `tested`: shares of an intent's rows, the rest comes as traffic.

    `margin`: what a challenger may lose on old rows; a hundredth cannot be told from chance on the few rows of the small size.
    `rate`: requests a second until drift is seen; `calm`: afterwards, while versions are trained on the same machine.
    """

    intents: int
    taught: float
    tested: float
    epochs: int
    margin: float
    rate: float
    calm: float


FULL = Size(intents=77, taught=0.45, tested=0.25, epochs=5, margin=0.02, rate=40.0, calm=40.0)
SMALL = Size(intents=18, taught=0.30, tested=0.35, epochs=4, margin=0.05, rate=40.0, calm=20.0)


def write(folder: Path, size: Size) -> tuple[list[str], list[str]]:
    """Writes train.csv, test.csv and shuffled.csv (the training rows with wrong labels) of known intents, known.csv and new.csv (traffic).

    Returns the known and the held-back intents. Exits where Banking77 is not to be had.
    """
    every = sorted({*rows("banking77/train"), *rows("banking77/test")}, key=lambda row: digest(row[0]))
    intents = sorted({label for _, label in every}, key=digest)[: size.intents]
    held = sorted(intents[::3])
    known = sorted(set(intents) - set(held))
    wrong = {label: known[(n + 1) % len(known)] for n, label in enumerate(known)}
    dealt: dict[str, list[Row]] = {"train": [], "test": [], "known": []}
    for label in known:
        mine = [row for row in every if row[1] == label]
        first, second = round(len(mine) * size.taught), round(len(mine) * (size.taught + size.tested))
        dealt["train"] += mine[:first]
        dealt["test"] += mine[first:second]
        dealt["known"] += mine[second:]
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in dealt.items():
        table(folder / f"{name}.csv", found)
    table(folder / "shuffled.csv", [(text, wrong[label]) for text, label in dealt["train"]])
    table(folder / "new.csv", [row for row in every if row[1] in held])
    return known, held


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def rows(entry: str) -> list[Row]:
    from penstock.core.errors import PenstockError
    from penstock.core.home import Home
    from penstock.stages.data.catalog import entry_named, find_mirror, resolve

    try:
        path = resolve(entry_named(entry), find_mirror(Path(__file__).parent), Home.find(Path(__file__).parent).cache).path
    except PenstockError as error:
        sys.exit(f"{entry} is not to be had: {error}\n{error.way_out}")
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def table(path: Path, found: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "category"))
        writer.writerows(found)
