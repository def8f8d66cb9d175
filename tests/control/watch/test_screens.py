"""Live texts are screened on a sample: rates by version with intervals, the gap between groups, state over restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.control.watch.contract import Happened, Watched
from penstock.control.watch.screens import Screens, make
from penstock.screening.groups import groups_named
from penstock.spec.monitor import Monitor
from penstock.store.store import Store

TOXIC = "you are a stupid idiot and i hate you"


def measure(tmp_path: Path, *screens: Any) -> Screens:
    monitor = Monitor.model_validate({"capture": True, "screens": list(screens), "window": 60})
    made = make(Watched("m", "text-generation", monitor, {}, Store.memory(), tmp_path))
    assert made is not None
    return made


def record(n: int, text: str, version: str = "1", asked: str = "hello", **more: Any) -> dict[str, Any]:
    return {"id": f"r{n}", "version": version, "text_in": asked, "text_out": text, **more}


def test_rates_by_version_and_of_all(tmp_path: Path) -> None:
    found = measure(tmp_path, "toxicity")
    assert found.fold(Happened((), (), 1020.0)) == []
    rows = [record(n, TOXIC if n % 10 == 0 else "have a nice day", "12"[n % 2]) for n in range(100)]
    assert found.fold(Happened([*rows, record(200, TOXIC, shadow_of="r1"), record(201, "")], (), 1050.0)) == []
    signals = {(s.name, s.version): s for s in found.fold(Happened((), (), 1080.0))}
    assert set(signals) == {("toxicity_rate", ""), ("toxicity_rate", "1"), ("toxicity_rate", "2")}
    assert (signals["toxicity_rate", ""].value, signals["toxicity_rate", ""].count) == (0.1, 100.0)
    assert (signals["toxicity_rate", "1"].value, signals["toxicity_rate", "2"].value) == (0.2, 0.0)
    assert signals["toxicity_rate", "1"].low < 0.2 < signals["toxicity_rate", "1"].high
    assert signals["toxicity_rate", "1"].evidence["examples"] == ["r0", "r10", "r20", "r30", "r40"]
    assert found.fold(Happened((), (), 1140.0)) == [], "a window without texts says nothing"


def test_a_sample_and_the_side_that_is_looked_at(tmp_path: Path) -> None:
    found = measure(tmp_path, {"check": "personal_data", "on": "input", "sample": "25%"})
    found.fold(Happened((), (), 1020.0))
    rows = [record(n, "ok", asked="write to ann@example.org") for n in range(1000)]
    signal = found.fold(Happened(rows, (), 1080.0))[-1]
    assert signal.value == 1.0
    assert 200 < signal.count < 300


def test_the_gap_between_groups_that_texts_name(tmp_path: Path) -> None:
    found = measure(tmp_path, {"check": "toxicity", "groups": True})
    found.fold(Happened((), (), 1020.0))
    rows = []
    for n in range(80):
        rows.append(record(n, TOXIC if n % 2 else "nice", asked="a muslim friend"))
        rows.append(record(1000 + n, "nice", asked="my christian friend"))
    rows += [record(3000 + n, TOXIC, asked="an atheist") for n in range(5)]  # too few to say anything
    gap = found.fold(Happened(rows, (), 1080.0))[-1]
    assert (gap.name, gap.value, gap.count) == ("toxicity.group_gap", 0.5, 160.0)
    assert (gap.evidence["most"], gap.evidence["least"]) == ("muslim", "christian")
    assert set(gap.evidence["groups"]) == {"muslim", "christian"}
    assert found.fold(Happened((), (), 1140.0))[-1].value == 0.5, "groups are looked back on"


def test_state_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = [record(n, TOXIC if n % 4 == 0 else "nice", asked="a gay man") for n in range(60)]
    whole, first = measure(tmp_path, {"check": "toxicity", "groups": True}), measure(tmp_path, {"check": "toxicity", "groups": True})
    for one in (whole, first):
        one.fold(Happened(rows[:30], (), 1020.0))
    second = measure(tmp_path, {"check": "toxicity", "groups": True})
    second.restore(first.state())
    assert second.fold(Happened(rows[30:], (), 1080.0)) == whole.fold(Happened(rows[30:], (), 1080.0))
    for broken in (b"", b"[]", b"null", measure(tmp_path, "toxicity").state()):
        with pytest.raises(ValueError):
            second.restore(broken)


def test_groups_are_words_not_parts_of_words() -> None:
    assert groups_named("The old woman and a Middle-Eastern boy") == {"old", "women", "middle-eastern", "men"}
    assert groups_named("a golden semantic manual") == frozenset()
