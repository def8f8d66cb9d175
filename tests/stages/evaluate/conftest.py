"""Small real models behind the engine contract: TF-IDF with logistic regression, and a character bigram model."""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from penstock.core.errors import BadInput
from penstock.engines.contract import Classified, ClassifyRequest, EngineInfo, GenerateRequest, Scored, ScoreRequest, Text


class TableEngine:
    """Answers a classification request from a table of text → probabilities."""

    def __init__(self, labels, probabilities):
        self.info = EngineInfo("table", "text-classification", None, "fp64", 128, labels)
        self.probabilities, self.running, self.most, self.closed = probabilities, 0, 0, False

    async def generate(self, request):
        if not isinstance(request, ClassifyRequest):
            raise BadInput("only classification")
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        rows = [sorted(zip(self.info.labels, self.probabilities(t), strict=True), key=lambda p: -p[1]) for t in request.texts]
        self.running -= 1
        yield Classified(rows, sum(len(t) for t in request.texts))

    def metrics(self):
        return {}

    async def close(self):
        self.closed = True


class BigramEngine:
    """Add-one character bigrams; one token is one character."""

    def __init__(self, text):
        self.info = EngineInfo("bigram", "text-generation", None, "fp64", 4096)
        self.pairs, self.firsts, self.alphabet = Counter(itertools.pairwise(text)), Counter(text), sorted(set(text))

    def chance(self, a, b):
        return (self.pairs[a, b] + 1) / (self.firsts[a] + len(self.alphabet) + 1)

    async def generate(self, request):
        if isinstance(request, ScoreRequest):
            nats = -sum(math.log(self.chance(a, b)) for a, b in itertools.pairwise(request.text))
            yield Scored(nats, len(request.text) - 1, len(request.text) - 1)
            return
        assert isinstance(request, GenerateRequest)
        rng, last = np.random.default_rng(request.seed or 0), request.prompt[-1]
        for count in range(1, request.max_tokens + 1):
            chances = np.array([self.chance(last, b) for b in self.alphabet])
            last = str(rng.choice(self.alphabet, p=chances / chances.sum()))
            yield Text(last, "length" if count == request.max_tokens else None, len(request.prompt), count)

    def metrics(self):
        return {}

    async def close(self):
        pass


def mirror() -> Path:
    folder = Path(os.environ.get("PENSTOCK_MIRROR") or Path(__file__).parents[4] / "shared" / "data")
    if not (folder / "banking77").exists():
        pytest.skip(f"no real data under {folder}")
    return folder


def write_dataset(folder: Path, rows: list[tuple[str, str]], split: str = "test") -> Path:
    """A dataset artifact of (text, label) rows; other splits are empty."""
    folder.mkdir(parents=True)
    names = sorted({label for _, label in rows})
    table = pl.DataFrame(
        {"id": [f"{i:05}" for i in range(len(rows))], "text": [t for t, _ in rows], "label": [names.index(name) for _, name in rows]},
        schema={"id": pl.String, "text": pl.String, "label": pl.Int32},
    )
    for name in ("train", "validation", "test"):
        (table if name == split else table.clear()).write_parquet(folder / f"{name}.parquet")
    (folder / "labels.json").write_text(json.dumps(names))
    return folder


class Banking:
    """Banking77 with two real models of different strength."""

    def __init__(self, root: Path) -> None:
        self.train, self.test = self.read("train"), self.read("test")
        self.dataset = write_dataset(root / "dataset", self.test)
        self.bundle = root / "bundle"
        self.bundle.mkdir()
        (self.bundle / "bundle.json").write_text('{"schema": 1}')

    def read(self, split: str) -> list[tuple[str, str]]:
        with open(mirror() / "banking77" / f"{split}.csv", newline="", encoding="utf-8") as file:
            return [(row["text"], row["category"]) for row in csv.DictReader(file)]

    def engine(self, features: int) -> TableEngine:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import SGDClassifier

        words = TfidfVectorizer(max_features=features, ngram_range=(1, 2), sublinear_tf=True)
        model = SGDClassifier(loss="log_loss", alpha=1e-5, max_iter=15, tol=None, random_state=0)
        model.fit(words.fit_transform([t for t, _ in self.train]), [label for _, label in self.train])
        found = dict(zip([t for t, _ in self.test], model.predict_proba(words.transform([t for t, _ in self.test])).tolist(), strict=True))
        return TableEngine(list(model.classes_), found.__getitem__)


@pytest.fixture(scope="session")
def banking(tmp_path_factory):
    return Banking(tmp_path_factory.mktemp("banking"))


@pytest.fixture(scope="session")
def strong(banking):
    return banking.engine(20_000)


@pytest.fixture(scope="session")
def weak(banking):
    return banking.engine(300)


@pytest.fixture
def table_engine():
    return TableEngine


@pytest.fixture(scope="session")
def shakespeare():
    return (mirror() / "tinyshakespeare" / "input.txt").read_text("utf-8")


@pytest.fixture(scope="session")
def bigrams(shakespeare):
    return BigramEngine(shakespeare[:1_000_000])


@pytest.fixture
def make_dataset():
    return write_dataset
