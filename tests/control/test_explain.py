"""Records on disk in, causes out: each signal of single requests, feedback, drift, and rows that lack what newer ones have."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from penstock.control import explain as module
from penstock.control.explain import Span, explain
from penstock.core.errors import BadInput
from penstock.monitoring.causes.outcomes import known, takes
from penstock.serving.feedback import Feedback
from penstock.serving.record_files import compact
from penstock.serving.records import Record

START = 1_700_000_000.0
BEFORE, DURING = Span(START, START + 3600), Span(START + 3600, START + 4500)
Change = Callable[[dict[str, Any], random.Random], None]


def traffic(folder: Path, change: Change, *, count: int = 4000, seed: int = 1, extra: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Requests over both spans, written as the gateway does; `change` is done to those of the second."""
    chance, found = random.Random(seed), []
    for n in range(count):
        ts = START + 4500 * n / count
        replica = chance.choice(["r1", "r2", "r3"])
        total = chance.lognormvariate(3, 0.5)
        status = 503 if chance.random() < 0.01 else 200
        sizes = (200, 100, int(chance.lognormvariate(4, 0.8)), 20)
        key, times = chance.choice(["a", "b", "c"]), (1.0, total / 2, total, 1)
        base = Record(ts, f"q{n}", "m", "1", replica, "/v1/classify", key, status, *sizes, *times)
        row = {name: getattr(base, name) for name in Record._fields} | {"cost_usd": 0.001}
        row["error"] = "overloaded" if status == 503 else None
        row |= {name: value(chance) if callable(value) else value for name, value in (extra or {}).items()}
        if ts >= DURING.since:
            change(row, chance)
        found.append(row)
    (folder / "records").mkdir(parents=True, exist_ok=True)
    by_hour: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_hour.setdefault(time.strftime("%Y%m%d-%H", time.gmtime(row["ts"])), []).append(row)
    for hour, rows in by_hour.items():
        data = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
        (folder / "records" / f"{hour}-1-1.jsonl").write_bytes(data)
    return found


def failing(replica: str) -> Change:
    def change(row: dict[str, Any], chance: random.Random) -> None:
        if row["replica"] == replica and chance.random() < 0.4:
            row.update(status=500, error="replica-failed")

    return change


def slower(row: dict[str, Any], _: random.Random) -> None:
    if row["prompt_tokens"] > 80:
        row["total_ms"] *= 8
        row["first_ms"] = row["total_ms"] / 2


def test_a_bad_replica_is_named_with_its_errors(tmp_path: Path) -> None:
    traffic(tmp_path, failing("r3"))
    found = explain(tmp_path, "m", "error_rate", BEFORE, DURING)
    (cause,) = found["causes"]
    assert cause["where"] == {"replica": "r3"}
    assert cause["errors"]["replica-failed"] > 50
    assert cause["text"].startswith("replica r3: ")
    assert "% failed (was 0.47 %), elsewhere" in cause["text"]
    assert cause["text"].endswith("all of the change")
    assert found["before"]["requests"] == 3200
    assert found["during"]["requests"] == 800
    assert orjson.dumps(found)
    compact(tmp_path / "records", now=START + 10 * 3600)
    assert explain(tmp_path, "m", "error_rate", BEFORE, DURING) == found, "from Parquet the same"


@pytest.mark.parametrize("signal", ["latency.p95_ms", "latency.p50_ms"])
def test_long_inputs_make_it_slow(tmp_path: Path, signal: str) -> None:
    traffic(tmp_path, slower)
    found = explain(tmp_path, "m", signal, BEFORE, DURING)
    assert list(found["causes"][0]["where"]) == ["prompt_tokens"]
    assert "took longer than" in found["causes"][0]["text"]
    assert found["spent"]["first_byte"][1] > 2 * found["spent"]["first_byte"][0]
    assert found["spent"]["queue"] == [pytest.approx(1.0), pytest.approx(1.0)]


def test_a_key_and_its_adapter_cost_more(tmp_path: Path) -> None:
    def dearer(row: dict[str, Any], chance: random.Random) -> None:
        row["cost_usd"] = 0.004 * chance.uniform(0.8, 1.2) if row["key"] == "b" else 0.001

    extra = {"cost_usd": lambda c: 0.001 * c.uniform(0.8, 1.2)}
    traffic(tmp_path, dearer, extra=extra)
    found = explain(tmp_path, "m", "cost.month", BEFORE, DURING)
    assert [cause["where"] for cause in found["causes"]] == [{"key": "b"}]


def test_labels_that_are_wrong(tmp_path: Path) -> None:
    """Live accuracy, from feedback; `label`, `metadata` are fields that newer records have."""
    labels = [f"l{n}" for n in range(5)]
    extra = {"label": lambda c: c.choice(labels), "metadata": lambda c: {"channel": c.choice(["web", "app"]), "amount": c.uniform(0, 100)}}
    rows = traffic(tmp_path, lambda _, __: None, extra=extra)
    (tmp_path / "feedback").mkdir()
    chance, said = random.Random(2), []
    for row in rows:
        late = row["ts"] >= DURING.since
        right = chance.random() < (0.4 if late and row["metadata"]["channel"] == "app" else 0.95)
        label = row["label"] if right else "other"
        one = Feedback(row["ts"] + 1, row["id"], f"f{row['id']}", row["key"], label=label)
        said.append(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE))
    (tmp_path / "feedback" / f"{time.strftime('%Y%m%d-%H', time.gmtime(DURING.until))}-1.jsonl").write_bytes(b"".join(said))
    found = explain(tmp_path, "m", "live.accuracy", BEFORE, DURING)
    assert [cause["where"] for cause in found["causes"]] == [{"metadata.channel": "app"}]
    assert found["value"]["during"] < found["value"]["before"]


def test_drift_is_told_by_what_is_asked_more(tmp_path: Path) -> None:
    def other(row: dict[str, Any], chance: random.Random) -> None:
        row["language"] = "pl" if chance.random() < 0.4 else "en"

    traffic(tmp_path, other, extra={"language": "en"})
    found = explain(tmp_path, "m", "drift.words", BEFORE, DURING)
    assert {tuple(cause["where"].items()) for cause in found["causes"]} == {(("language", "pl"),), (("language", "en"),)}
    assert "language pl: 4" in " ".join(cause["text"] for cause in found["causes"])


def test_without_a_cause_it_says_so(tmp_path: Path) -> None:
    def all_fail(row: dict[str, Any], chance: random.Random) -> None:
        row["status"] = 500 if chance.random() < 0.2 else 200

    traffic(tmp_path, all_fail)
    assert "alike everywhere" in explain(tmp_path, "m", "error_rate", BEFORE, DURING)["note"]
    assert "did not change beyond chance" in explain(tmp_path, "m", "refused_rate", BEFORE, DURING)["note"]
    assert explain(tmp_path, "other", "error_rate", BEFORE, DURING)["note"] == "there are no requests to compare"
    assert explain(tmp_path / "nothing", "m", "drift", BEFORE, DURING)["note"] == "there are no requests to compare"
    with pytest.raises(BadInput, match="no signal of single requests"):
        explain(tmp_path, "m", "host.cpu", BEFORE, DURING)


@pytest.mark.parametrize("signal", known())
def test_every_signal_is_explained_or_says_why_not(tmp_path: Path, signal: str) -> None:
    traffic(tmp_path, failing("r2"), count=600)
    found = explain(tmp_path, "m", signal, BEFORE, DURING)
    assert found["causes"] or found["note"]


def test_shadow_copies_do_not_count_and_many_requests_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copies(row: dict[str, Any], _: random.Random) -> None:
        row.update(shadow_of="q", status=500)

    traffic(tmp_path, copies)
    assert explain(tmp_path, "m", "error_rate", BEFORE, DURING)["during"]["requests"] == 0
    traffic(tmp_path, failing("r3"))
    monkeypatch.setattr(module, "MOST", 1000)
    found = explain(tmp_path, "m", "error_rate", BEFORE, DURING)
    assert 1000 <= found["before"]["requests"] < 2000
    assert found["causes"][0]["where"] == {"replica": "r3"}


def test_parts_that_a_cause_names() -> None:
    row = {"replica": "r1", "prompt_tokens": 90, "stream": True, "metadata": {"channel": "web", "amount": 5}}
    assert takes([("replica", "r1"), ("prompt_tokens", "> 80"), ("stream", "streamed"), ("metadata.channel", "web")], row)
    assert takes([("metadata.amount", "≤ 5")], row)
    assert not takes([("prompt_tokens", "≤ 80")], row)
    assert not takes([("prompt_tokens", "> 80")], {"replica": "r1"})
    assert not takes([("key", "a")], row)
