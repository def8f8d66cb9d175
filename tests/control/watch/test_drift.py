"""The measure `drift` on recorded requests: quiet while nothing moves, loud and clear when something does, the same after a restart."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.control.watch.contract import Happened, Rated, Watched
from penstock.control.watch.drift.measure import DriftMeasure, make
from penstock.control.watch.drift.rows import Budget, looked
from penstock.control.watch.table import MEASURES
from penstock.core.home import Home
from penstock.monitoring.drift.calibrate import calibrated
from penstock.monitoring.drift.files import write_reference
from penstock.monitoring.drift.standard import Asked
from penstock.serving.feedback import Feedback
from penstock.spec.monitor import Monitor, stored
from penstock.spec.signals import known
from penstock.stages.reference.features import Looked, column
from penstock.stages.reference.vectors import HashedVectors
from penstock.store.registry import ModelVersion
from penstock.store.signals import Signal
from penstock.store.store import Store

THINGS = {"card": "cards", "transfer": "transfers", "refund": "refunds", "salary": "money", "loan": "loans"}
ASKS = (
    "where is my {}",
    "my {} has not come",
    "i want to know about the {}",
    "how long does a {} take",
    "cancel the {} please",
    "why was my {} refused",
)
MONITOR = {
    "capture": True,
    "metadata": ["channel", "amount"],
    "drift": [
        *({"input": what, "window": 100} for what in ("words", "embedding", "length", "language")),
        *({"output": what, "window": 100} for what in ("labels", "confidence")),
        *({"feedback": what, "window": 100} for what in ("labels", "errors")),
        *({"metadata": what, "window": 100} for what in ("channel", "amount")),
    ],
}


class Traffic:
    """Requests as a gateway records them, five a second. `wrong`: how often the model errs."""

    def __init__(self, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.now, self.count = 1.7e9, 0

    def text(self, things: Sequence[str]) -> tuple[str, str]:
        thing = self.chance.choice(things)
        return self.chance.choice(ASKS).format(thing), THINGS.get(thing, "cards")

    def record(self, *, strange: float = 0.0, wrong: float = 0.1, version: str = "1") -> tuple[dict[str, Any], str]:
        self.now += 0.2
        self.count += 1
        odd = self.chance.random() < strange
        text, truth = self.text(("bitcoin wallet", "crypto exchange", "mortgage") if odd else list(THINGS))
        label = self.chance.choice(["cards", "loans"]) if self.chance.random() < wrong else truth
        channel = "phone" if odd else self.chance.choice(["web", "web", "app"])
        record = {
            "ts": self.now,
            "total_ms": 3.0,
            "id": f"q{self.count}",
            "version": version,
            "status": 200,
            "key": "k",
            "text_in": text,
            "text_out": f"{label}=0.900",
            "label": label,
            "confidence": round(self.chance.betavariate(9, 1 + odd), 4),
            "metadata": {"channel": channel, "amount": round(self.chance.lognormvariate(3, 1), 2)},
        }
        return record, truth

    def happened(self, count: int, *, rate: float = 1.0, **kind: Any) -> Happened:
        made = [self.record(**kind) for _ in range(count)]
        said = [
            Rated(record, Feedback(record["ts"] + 1, record["id"], f"f{record['id']}", "k", label=truth))
            for record, truth in made
            if self.chance.random() < rate
        ]
        return Happened([record for record, _ in made], said, self.now)


def reference_of(monitor: Monitor, rows: int = 1200) -> Any:
    traffic, vectors = Traffic(99), HashedVectors()
    seen = []
    for _ in range(rows):
        record, truth = traffic.record()
        row = looked(record, "text-classification")
        assert row is not None
        seen.append(replace(row, truth=truth, wrong=row.label != truth, vector=vectors.of([row.text or ""])[0]))
    asked = [Asked.entry(entry) for entry in monitor.drift]
    made = [one for one, entry in zip(asked, monitor.drift, strict=True) if stored(entry, "text-classification")]
    return calibrated({one.signal: column(one.signal, seen) for one in made}, made, asked, draws=400)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened = Store.open(Home.find(tmp_path_factory.mktemp("home"), {}))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def reference(store: Store, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("reference")
    write_reference(folder, reference_of(Monitor.model_validate(MONITOR)))
    return store.artifacts.commit(folder, "reference", {}).digest


def version(facts: dict[str, str], number: int = 1) -> ModelVersion:
    return ModelVersion("bank", number, f"sha256:{number:064x}", "run", "text-classification", {}, [], facts, "passed", 0.0)


@pytest.fixture
def watched(store: Store, reference: str, tmp_path: Path) -> Watched:
    monitor = Monitor.model_validate(MONITOR)
    return Watched("bank", "text-classification", monitor, {"1": version({"reference.reference": reference})}, store, tmp_path)


def fold(measure: DriftMeasure, traffic: Traffic, count: int, step: int = 37, **kind: Any) -> list[Signal]:
    found: list[Signal] = []
    for start in range(0, count, step):
        found += measure.fold(traffic.happened(min(step, count - start), **kind))
    return found


def made(watched: Watched) -> DriftMeasure:
    found = make(watched)
    assert found is not None
    return found


def test_it_is_in_the_table_and_asked_for_by_the_file(watched: Watched) -> None:
    assert MEASURES.load("drift") is make
    assert make(replace(watched, monitor=Monitor())) is None


def test_clean_windows_raise_no_alarm_and_have_the_names_of_the_file(watched: Watched) -> None:
    measure = made(watched)
    found = fold(measure, Traffic(), 2100)
    assert [(s.name, s.value, s.limit) for s in found if s.over] == []
    names = {signal.name for signal in found}
    declared = {name for name in known({"task": "text-classification", "monitor": MONITOR}) if name.startswith("drift")}
    assert names == declared
    of_words = [s for s in found if s.name == "drift.words" and s.version == "1"]
    assert len(of_words) == 21
    assert all(s.count == 100 and s.limit is not None for s in of_words)
    whole = [s for s in found if s.name == "drift.words" and s.version == ""]
    assert [(s.at, s.value) for s in whole] == [(s.at, s.value) for s in of_words]
    assert len({(s.place, s.at) for s in found}) == len({(s.deployment, *s.place, s.at) for s in found})


def test_new_topics_alarm_within_two_windows_and_are_explained(watched: Watched) -> None:
    measure, traffic = made(watched), Traffic(2)
    fold(measure, traffic, 950)
    found = fold(measure, traffic, 200, strange=0.35)
    over = {s.name: s for s in found if s.over and s.version == "1"}
    assert {"drift.words", "drift.embedding", "drift.input", "drift", "drift.metadata.channel"} <= set(over)
    words = {one["word"] for one in over["drift.words"].evidence["words"]}
    assert {"bitcoin", "crypto", "mortgage"} <= words
    assert over["drift.words"].evidence["severity"] in ("marked", "severe")
    examples = over["drift.words"].evidence["examples"]
    assert examples
    assert all(int(one[1:]) > 950 for one in examples)
    assert over["drift.words"].evidence["slices"][0]["value"] == "phone"
    assert over["drift.input"].evidence["of"] in over
    for signal in found:
        assert len(json.dumps(signal.evidence)) < 6000


def test_wrong_answers_alarm_before_a_window_is_full(watched: Watched) -> None:
    measure, traffic = made(watched), Traffic(3)
    fold(measure, traffic, 1000)
    found = fold(measure, traffic, 90, step=10, wrong=0.8)
    over = [s for s in found if s.name == "drift.feedback.errors" and s.over and s.version == "1"]
    assert over
    assert over[0].evidence["found"]
    assert over[0].evidence["share"] > 0.2


def test_masked_tokens_are_never_named(watched: Watched) -> None:
    measure, traffic = made(watched), Traffic(4)
    made_ = traffic.happened(100)
    records = [{**record, "text_in": f"write to [EMAIL] about [IBAN] {record['text_in']} at once"} for record in made_.records]
    found = measure.fold(Happened(records, [], made_.until))
    told = json.dumps([s.evidence for s in found if s.name == "drift.words" and s.over])
    assert "once" in told
    assert "EMAIL" not in told
    assert "IBAN" not in told


@pytest.mark.parametrize("at", [0, 40, 399, 400, 450, 777])
def test_a_restart_changes_nothing(watched: Watched, at: int) -> None:
    """Two measures over the same requests, one of which is stopped and restored in the middle."""
    one, other, traffic = made(watched), made(watched), Traffic(5)
    for size in [at] if at else []:
        happened = traffic.happened(size, strange=0.1)
        assert one.fold(happened) == other.fold(happened)
    resumed = made(watched)
    resumed.restore(other.state())
    later = [traffic.happened(53, strange=0.1, wrong=0.3) for _ in range(12)]
    assert [one.fold(happened) for happened in later] == [resumed.fold(happened) for happened in later]
    assert len(one.state()) == len(resumed.state())


def test_how_requests_are_cut_into_passes_changes_nothing(watched: Watched) -> None:
    whole, pieces, traffic = made(watched), made(watched), Traffic(6)
    happened = traffic.happened(450, rate=0.0)
    found = whole.fold(happened)
    cut = [s for start in range(0, 450, 41) for s in pieces.fold(Happened(happened.records[start : start + 41], [], happened.until))]
    assert sorted(map(str, found)) == sorted(map(str, cut))


def test_a_state_of_something_else_is_refused(watched: Watched) -> None:
    measure = made(watched)
    fold(measure, Traffic(7), 130)
    state = measure.state()
    for broken in (b"", b"x" * 40, state[:-7], state[: len(state) // 2], b"\0" * 16 + b"{}", bytes(8) + bytes(8)):
        with pytest.raises(ValueError):
            made(watched).restore(broken)
    other = replace(watched, monitor=Monitor.model_validate({**MONITOR, "drift": [{"input": "words", "window": 50}]}))
    with pytest.raises(ValueError, match="declared otherwise"):
        made(other).restore(state)


def test_what_says_nothing_of_traffic_is_left_out() -> None:
    record, _ = Traffic().record()
    assert looked(record, "text-classification") is not None
    for change in ({"status": 429}, {"status": 500}, {"version": None}, {"shadow_of": "q1"}, {"text_out": "cards=0.900\nloans=0.800"}):
        assert looked({**record, **change}, "text-classification") is None
    bare = looked({**record, "label": None, "confidence": None, "text_out": "lost card=0.871 other=0.1"}, "text-classification")
    assert bare is not None
    assert (bare.label, bare.confidence) == ("lost card", 0.871)


def test_requests_without_a_text_are_counted_not_compared(watched: Watched) -> None:
    measure, traffic = made(watched), Traffic(8)
    happened = traffic.happened(150, rate=0.0)
    records = [{**record, "text_in": None} if n % 3 == 0 else record for n, record in enumerate(happened.records)]
    found = measure.fold(Happened(records, [], happened.until))
    (words,) = [s for s in found if s.name == "drift.words" and s.version]
    assert words.count == 100
    assert words.evidence["skipped"] == 50


def test_more_traffic_than_can_be_looked_at_is_sampled_and_that_is_said(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.watch.drift.measure.EMBEDDED_PER_S", 150.0)
    monkeypatch.setattr("penstock.control.watch.drift.measure.SAVED_S", 1.0)
    found = fold(made(watched), Traffic(9), 2000, rate=0.0)
    words = [s for s in found if s.name == "drift.words" and s.version]
    assert 3 <= len(words) <= 12
    assert words[-1].evidence["sampled"] < 0.7
    assert words[-1].evidence["requests"] > 130


def test_a_budget_goes_by_the_time_of_the_records() -> None:
    budget = Budget(100.0, 200.0)
    rows = [Looked(f"q{n}", text="x" * 60, ended=1000 + n / 10) for n in range(600)]
    taken = [row for row in rows if budget.takes(row)]
    assert 55 <= len(taken) <= 65
    again = Budget(100.0, 200.0)
    assert [row for row in rows if again.takes(row)] == taken


def test_a_version_without_a_reference_learns_it_from_its_first_windows(watched: Watched) -> None:
    without = replace(watched, versions={"1": version({})})
    measure, traffic = made(without), Traffic(10)
    assert fold(measure, traffic, 390) == []
    resumed = made(without)
    resumed.restore(measure.state())
    quiet = fold(resumed, traffic, 310)
    assert {"drift.words", "drift.output.labels", "drift.feedback.errors"} <= {s.name for s in quiet}
    assert [s.name for s in quiet if s.over] == []
    assert all(s.evidence.get("reference") for s in quiet if s.name == "drift.words")
    again = made(without)
    again.restore(resumed.state())
    found = fold(again, traffic, 200, strange=0.5)
    assert {"drift.words", "drift.input", "drift"} <= {s.name for s in found if s.over}


def test_a_reference_that_cannot_be_read_is_learnt_anew(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    measure = made(replace(watched, versions={"1": version({"reference.reference": f"sha256:{7:064x}"})}))
    assert "cannot be read" in caplog.text
    assert {s.name for s in fold(measure, Traffic(11), 600) if s.version} >= {"drift.words"}


def test_each_version_is_held_to_its_own_and_the_one_with_most_requests_stands_for_all(watched: Watched) -> None:
    both = replace(watched, versions={**watched.versions, "2": replace(watched.versions["1"], version=2)})
    measure, traffic = made(both), Traffic(12)
    found: list[Signal] = []
    for turn in range(40):
        found += measure.fold(traffic.happened(30, version="1", rate=0.0))
        found += measure.fold(traffic.happened(10, version="2", strange=0.8 if turn > 5 else 0.0, rate=0.0))
    assert {s.version for s in found if s.name == "drift.words" and s.over} == {"2"}
    assert {s.evidence["version"] for s in found if s.version == ""} == {"1"}


def test_a_limit_for_another_window_is_not_used(watched: Watched) -> None:
    """The file was changed since: what was calibrated to windows of 100 says nothing of windows of 60."""
    changed = [{**entry, "window": 60} if entry.get("input") == "words" else entry for entry in MONITOR["drift"]]
    measure = made(replace(watched, monitor=Monitor.model_validate({**MONITOR, "drift": changed})))
    found = fold(measure, Traffic(13), 600, rate=0.0)
    of_words = [s for s in found if s.name == "drift.words" and s.version]
    assert of_words
    assert all(s.count == 60 and "learnt" in s.evidence["reference"] for s in of_words)


def test_hostile_records_do_no_harm(watched: Watched) -> None:
    measure, traffic = made(watched), Traffic(14)
    odd = [
        {},
        {"version": "1"},
        {"version": "1", "status": 200, "id": 7, "text_in": "\ud800 \x00" * 3, "metadata": [1, 2], "confidence": "high", "label": 3},
        {
            "version": "1",
            "status": 200,
            "id": "a",
            "text_in": "",
            "label": "cards",
            "confidence": float("nan"),
            "metadata": {"amount": None},
        },
        {
            "version": "1",
            "status": 200,
            "id": "b",
            "text_in": "word " * 50_000,
            "label": "cards",
            "confidence": 0.5,
            "metadata": {"amount": [1, {}]},
        },
        {"version": "9", "status": 200, "id": "c", "text_in": "hello"},
    ]
    found = measure.fold(Happened(odd, [], traffic.now)) + fold(measure, traffic, 500)
    assert any(s.name == "drift.words" for s in found)
    made(watched).restore(measure.state())
