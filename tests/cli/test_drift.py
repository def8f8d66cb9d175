"""`penstock drift`: signals of a deployment against their limits, and any two tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from penstock.control.deployments import desired_deployment
from penstock.control.world import World
from penstock.core.home import Home
from penstock.store.signals import Signal

if TYPE_CHECKING:
    from penstock.store.store import Store

MOVED = {
    "severity": "marked",
    "words": [{"word": "passcode", "share": 0.02, "was": 0.0, "new": True}],
    "vanished": [{"word": "cheque", "share": 0.0, "was": 0.03, "new": False}],
    "examples": ["q1", "q2"],
    "slices": [{"field": "channel", "value": "phone", "rows": 40, "strange": 0.9, "elsewhere": 0.1}],
    "sampled": 0.25,
    "requests": 400,
}


@pytest.fixture
def deployed(store: Store) -> World:
    store.registry.register("m", "sha256:" + "1" * 64, run="run-1", task="text-classification", metrics={}, gates=[], facts={})
    made = World(store, Home.find(), "test")
    desired_deployment(made, "m", "m", 1, {}, {}, principal="test")
    return made


def test_signals_with_limits_courses_and_what_moved(call: Any, deployed: World) -> None:
    at = 1.8e9
    signals = [Signal("m", "drift.words", at + n, 0.5, 100, limit=1.0) for n in range(5)]
    signals += [Signal("m", "drift.words", at + 5, 1.8, 100, limit=1.0, evidence=MOVED), Signal("m", "drift", at + 5, 1.7, 3, limit=1.0)]
    signals += [Signal("m", "drift.length", at + 5, 0.02, 100, limit=0.1), Signal("m", "drift.words", at + 6, 0.1, 100, "2", limit=1.0)]
    signals += [Signal("m", "error_rate", at + 5, 0.02, 100)]
    deployed.store.signals.append(signals)
    found = call("drift", "m", "--json").json
    assert [(row["name"], row["over"]) for row in found["signals"]] == [("drift", True), ("drift.length", False), ("drift.words", True)]
    words = found["signals"][2]
    assert (words["value"], words["windows"], words["windows_over"], len(words["course"])) == (1.8, 6, 1, 6)
    told = call("drift", "m").out
    assert "passcode 0.0% → 2.0%" in told
    assert "gone: cheque 3.0% → 0.0%" in told
    assert "most in channel=phone: 90% of its requests, 10% elsewhere" in told
    assert "requests: q1, q2" in told
    assert "looked at 25% of 400 requests" in told
    assert "▃▃▃▃▃█" in told
    assert [row["name"] for row in call("drift", "m", "--version", "2", "--json").json["signals"]] == ["drift.words"]
    assert call("drift", "show", "m", "--since", "1s").out.startswith("SIGNAL")


@pytest.mark.usefixtures("deployed")
def test_nothing_yet_and_nothing_there(call: Any) -> None:
    assert "nothing is declared under monitor.drift" in call("drift", "m").out
    assert call("drift", "unknown").code == 2
    assert call("drift", "m", "--since", "soon").code == 2


def tables(folder: Path) -> tuple[str, str]:
    chance = np.random.default_rng(1)
    for name, by in (("a", 0.0), ("b", 1.0)):
        rows = {
            "id": [f"{name}-{n}" for n in range(1500)],
            "amount": (chance.normal(by, 1, 1500)).tolist(),
            "age": chance.integers(18, 90, 1500).tolist(),
            "channel": chance.choice(["web", "app", "phone"], 1500, p=[0.5, 0.4, 0.1]).tolist(),
            "text": [
                f"where is my {thing} please tell me now"
                for thing in chance.choice(["card", "loan"] if not by else ["card", "loan", "bitcoin"], 1500)
            ],
        }
        pl.DataFrame(rows).write_csv(folder / f"{name}.csv") if name == "a" else pl.DataFrame(rows).write_ndjson(folder / f"{name}.jsonl")
    return str(folder / "a.csv"), str(folder / "b.jsonl")


def test_two_files_of_different_kinds(call: Any, folder: Path) -> None:
    one, other = tables(folder)
    called = call("drift", "compare", one, other, "--html", "report.html", "--json")
    report = called.json
    verdicts = {(row["column"], row["what"]): row["verdict"] for row in report["columns"]}
    assert verdicts == {
        ("amount", ""): "drifted",
        ("age", ""): "same",
        ("channel", ""): "same",
        ("text", "words"): "drifted",
        ("text", "length"): verdicts["text", "length"],
        ("text", "language"): "same",
    }
    assert report["left_out"] == ["id"]
    words = next(row for row in report["columns"] if row["what"] == "words")
    assert words["moved"]["words"][0]["word"] == "bitcoin"
    page = (folder / "report.html").read_text()
    assert "bitcoin" in page
    assert "<script" not in page
    assert page.count("<svg") >= 2
    told = call("drift", "compare", one, other).out
    assert "bitcoin 0.0% → 3" in told
    only = call("drift", "compare", one, other, "--columns", "age,channel", "--json").json
    assert only["drifted"] == 0


def test_a_table_with_itself_shows_nothing(call: Any, folder: Path) -> None:
    one, _ = tables(folder)
    assert call("drift", "compare", one, one, "--json").json["drifted"] == 0


def test_datasets_by_digest(call: Any, folder: Path, store: Store) -> None:
    made = folder / "dataset"
    made.mkdir()
    for split, shift in (("train", 0), ("test", 1)):
        labels = pl.Series([(n % 4 == 0) * shift for n in range(400)], dtype=pl.Int32)
        texts = ["where is my card please tell me now"] * 400
        pl.DataFrame({"id": [str(n) for n in range(400)], "text": texts, "label": labels}).write_parquet(made / f"{split}.parquet")
    (made / "labels.json").write_text(json.dumps(["card", "loan"]))
    digest = store.artifacts.commit(made, "dataset", {}).digest
    report = call("drift", "compare", digest, f"{digest}#test", "--json").json
    label = next(row for row in report["columns"] if row["column"] == "label")
    assert label["verdict"] == "drifted"
    assert label["moved"]["values"][0]["value"] in ("card", "loan")
    assert call("drift", "compare", digest, f"{digest}#other").code == 2


def test_what_cannot_be_compared_is_said(call: Any, folder: Path) -> None:
    (folder / "a.csv").write_text("x,y\n1,2\n")
    (folder / "b.csv").write_text("p,q\n1,2\n")
    (folder / "broken.parquet").write_bytes(b"PAR1nothing")
    (folder / "empty.csv").write_text("x,y\n")
    (folder / "table.xlsx").write_bytes(b"x")
    for pair, told in (
        (("a.csv", "b.csv"), "no column in common"),
        (("a.csv", "gone.csv"), "no file gone.csv"),
        (("a.csv", "broken.parquet"), "does not read as a table"),
        (("a.csv", "empty.csv"), "holds no row"),
        (("a.csv", "table.xlsx"), "is a .csv"),
        (("a.csv", "sha256:12"), "not an artifact digest"),
    ):
        called = call("drift", "compare", *pair)
        assert called.code == 2, pair
        assert told in called.err
