"""What is seen of endpoints is never older than what we did, and costs no more calls than changes."""

from __future__ import annotations

from collections import Counter

import pytest

from penstock.core.errors import PlatformAway
from penstock.platforms.remote.noted import Noted
from penstock.platforms.remote.sights import Pace, Sights

CALM = Noted(config="c")


class Vendor:
    """Endpoints by name as text. `hidden`: what a copy that lags behind does not show."""

    def __init__(self) -> None:
        self.now, self.there, self.hidden = 0.0, dict[str, str](), set[str]()
        self.calls: Counter[str] = Counter()
        self.sights = Sights[str](self.list_, self.look, lambda seen: seen, lambda seen: "…" in seen, clock=lambda: self.now)

    def list_(self) -> dict[str, object]:
        self.calls["list"] += 1
        return {name: text for name, text in self.there.items() if name not in self.hidden}

    def look(self, name: str) -> str | None:
        self.calls["look"] += 1
        return None if name in self.hidden else self.there.get(name)


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


def test_those_that_nobody_touches_are_listed_and_seldom_looked_at(vendor: Vendor) -> None:
    vendor.there = {f"e{n}": "good" for n in range(250)}
    for name in vendor.there:
        assert vendor.sights.see(name, CALM) == "good"
    vendor.calls.clear()
    for _ in range(50):
        vendor.now += 1.0
        for name in vendor.there:
            vendor.sights.see(name, CALM)
    assert vendor.calls == Counter({"list": 3}), "one every 15 s: three pages"
    vendor.now += 10.0
    for name in vendor.there:
        vendor.sights.see(name, CALM)
    assert vendor.calls["look"] == 250, "a minute later at each"


def test_a_list_that_is_refused_is_not_asked_for_by_each(vendor: Vendor) -> None:
    vendor.there = {f"e{n}": "good" for n in range(50)}
    for name in vendor.there:
        vendor.sights.see(name, CALM)
    asked = list[float]()

    def refused() -> dict[str, object]:
        asked.append(vendor.now)
        raise PlatformAway("too many calls", refused=True)

    vendor.sights.list_, failed = refused, 0
    for _ in range(30):
        vendor.now += 1.0
        for name in vendor.there:
            try:
                assert vendor.sights.see(name, CALM) == "good"
            except PlatformAway:
                failed += 1
    assert len(asked) == failed == 6


def test_what_we_do_is_seen_at_once_and_what_others_do_by_the_list(vendor: Vendor) -> None:
    assert vendor.sights.see("e", None) is None
    vendor.there["e"] = "new"
    vendor.sights.touched("e")
    assert vendor.sights.see("e", None) == "new"
    vendor.there["e"] = "changed"
    assert vendor.sights.see("e", CALM) == "new"
    vendor.now += 5.0
    assert vendor.sights.see("e", CALM) == "changed"


def test_one_on_its_way_that_the_list_does_not_tell_of_is_looked_at_ever_more_seldom(vendor: Vendor) -> None:
    vendor.there["e"] = "coming…"
    vendor.sights.see("e", None)
    vendor.calls.clear()
    for _ in range(600):
        vendor.now += 1.0
        vendor.sights.see("e", None)
    assert vendor.calls["look"] <= 10 + 600 / Pace().slowest_s + 10


def test_what_was_there_is_missed_for_a_while_before_it_is_gone(vendor: Vendor) -> None:
    vendor.there["e"] = "good"
    assert vendor.sights.see("e", CALM) == "good"
    vendor.hidden.add("e")
    vendor.now += 6.0
    assert vendor.sights.see("e", CALM) == "good"
    vendor.hidden.clear()
    vendor.now += 1.0
    assert vendor.sights.see("e", CALM) == "good"
    vendor.hidden.add("e")
    seen = []
    for _ in range(12):
        vendor.now += 1.0
        seen.append(vendor.sights.see("e", CALM))
    assert seen[-1] is None


def test_a_new_process_does_not_take_for_gone_what_one_answer_leaves_out(vendor: Vendor) -> None:
    vendor.there["e"] = "good"
    vendor.sights.pace = Pace(gone_s=0.01)
    vendor.sights.list_ = dict
    assert vendor.sights.see("e", CALM) == "good"
