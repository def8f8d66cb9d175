"""The report of a deployment: what is drawn and told, over which time, and that nothing in it loads or runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.report.collect import story
from penstock.control.report.contract import Story
from penstock.control.report.course import POINTS, course, mean, step_of, time_ticks
from penstock.control.report.page import figures, page
from penstock.control.report.plots import PLOTS
from penstock.control.watch.contract import KEEP_S
from penstock.monitoring.windows.codec import Frame, Span
from penstock.monitoring.windows.files import WindowFiles
from penstock.store.signals import Signal
from penstock.testing.alerts import Scene, scene_of
from penstock.testing.control import Bench
from penstock.testing.windows import folded, row

RULE = {"when": "error_rate > 2%", "name": "errors", "severity": "critical"}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    bench = Bench(tmp_path)
    yield scene_of(bench, alerts=[RULE])
    bench.close()


def svgs(html: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]


def titles(html: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", html)


def reported(scene: Scene, seconds: float = 3600.0) -> tuple[Story, str]:
    now = scene.bench.clock.now()
    told = story(scene.world, "m", now - seconds, now)
    return told, page(told)


def test_an_alert_is_marked_and_told(scene: Scene) -> None:
    scene.measure(0.0, 0.0, 0.05, 0.05)
    scene.measure(*[0.0] * 5)
    scene.bench.store.signals.append([Signal("m", "drift.words", scene.bench.clock.now(), 0.6, 500.0, "1", limit=0.4)])
    told, html = reported(scene)
    (alert,) = told.alerts
    assert (alert["alert"], alert["phase"]) == ("errors", "resolved")
    assert titles(html) == ["Errors", "Drift and anomalies"]
    assert 'class="at alert"' in html
    assert "red: an alert fired" in html
    assert ("Requests", f"{9 * 500:,}", "", "") in figures(told)
    assert any(name == "Alerts" and value == "1" for name, value, _, _ in figures(told))
    drift = next(s for s in told.signals if s.name == "drift.words")
    assert drift.over
    for picture in svgs(html):
        assert picture.attrib["role"] == "img"


def test_pictures_by_version_have_the_colours_of_the_shares(scene: Scene) -> None:
    now = scene.bench.clock.now()
    for minute in range(30):
        at = now - 60 * minute
        made = [Signal("m", "requests_per_s", at, 5.0 + v, 300.0, str(v) if v else "") for v in (0, 1, 2)]
        made += [Signal("m", "latency.p95_ms", at, 20.0, 300.0, "", low=15.0, high=25.0), Signal("m", "live.accuracy", at, 0.9, 20.0, "2")]
        scene.bench.store.signals.append(made)
    told, html = reported(scene)
    assert titles(html) == ["Requests", "Latency", "Accuracy, from feedback"]
    requests, latency, accuracy = svgs(html)
    kinds = [[one.attrib["class"] for one in picture.iter("polyline")] for picture in (requests, latency, accuracy)]
    assert kinds == [["line0", "line1"], ["line0"], ["line0"]]
    assert list(latency.iter("polygon")), "the interval of a line that stands alone"
    shares = [(now - 3000, {"1": 1.0}), (now - 900, {"1": 0.5, "2": 0.5})]
    both = page(Story(told.deployment, told.since, told.until, told.window_s, told.signals, told.entries, shares, (), ()))
    assert "version 2: 50%" in both
    accuracy = svgs(both)[-1]
    assert [one.attrib["class"] for one in accuracy.iter("polyline")] == ["line1"]


def test_nothing_in_it_loads_or_runs(scene: Scene) -> None:
    scene.measure(0.05)
    evil = '"><script>alert(1)</script><img src=http://x/>'
    scene.bench.store.signals.append([Signal("m", f"drift.{evil}", scene.bench.clock.now(), 0.6, 500.0, limit=0.4)])
    scene.bench.store.events.add("deployment", scene.deployment.id, "traffic.set", evil, {"by": evil})
    _, html = reported(scene)
    found: list[tuple[str, dict[str, Any]]] = []

    class Read(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Read().feed(html)
    assert not {tag for tag, _ in found} & {"script", "img", "link", "iframe", "object", "use", "image"}
    assert not [value for _, attrs in found for name, value in attrs.items() if name in ("src", "href") or name.startswith("on")]
    assert "url(" not in html
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html


def test_only_what_was_in_the_time_is_told(scene: Scene) -> None:
    scene.measure(0.05, 0.05)
    scene.measure(*[0.0] * 90)
    _, html = reported(scene, 1800.0)
    assert "None fired." in html
    whole, _ = reported(scene, 7200.0)
    assert len(whole.alerts) == 1
    now = scene.bench.clock.now()
    assert not story(scene.world, "m", now - 90_000, now - 80_000).signals
    empty = page(story(scene.world, "m", now - 90_000, now - 80_000))
    assert "Nothing was measured in this time." in empty
    assert "Nothing was noted in this time." in empty


def test_before_signals_are_kept_it_is_told_from_windows(scene: Scene) -> None:
    now = scene.bench.clock.now()
    old = now - KEEP_S - 86400.0 * 30
    files = WindowFiles(scene.bench.home.folder / "monitor" / "m" / "windows")
    files.append(Frame(Span(old // 60 * 60, 60.0, 0), folded([row(1, old + 5, status=500), row(2, old + 6)])))
    told = story(scene.world, "m", old - 3600, now)
    (errors,) = [s for s in told.signals if s.name == "error_rate" and not s.version]
    assert errors.value == 0.5
    assert "Errors" in titles(page(told))


def test_what_one_point_stands_for_is_said(scene: Scene) -> None:
    now = scene.bench.clock.now()
    at = [now - 60.0 * n for n in range(1500)]
    scene.bench.store.signals.append([Signal("m", "error_rate", t, 0.01 + 0.5 * (n == 700), 100.0, "1") for n, t in enumerate(at)])
    _, html = reported(scene, 86400.0)
    assert "Worst of each 4 min 48 s." in html
    (picture,) = svgs(html)
    (line,) = picture.iter("polyline")
    assert len(line.attrib["points"].split()) <= POINTS + 1
    lowest = min(float(pair.split(",")[1]) for pair in line.attrib["points"].split())
    assert lowest < 60, "one bad minute of a day is seen"


@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1), st.integers(0, 100)), min_size=1, max_size=200),
    st.floats(1, 1e5),
    st.sampled_from(["mean", "worst"]),
)
def test_a_course_says_no_more_than_was_measured(rows: list[tuple[float, float, int]], step: float, told: Any) -> None:
    signals = [Signal("m", "x", at, value, float(count)) for at, value, count in sorted(rows)]
    pieces = course(signals, step, told)
    points = [point for piece in pieces for point in piece]
    assert [p.at for p in points] == sorted(p.at for p in points)
    assert {p.at for p in points} <= {s.at for s in signals}
    assert min(s.value for s in signals) - 1e-9 <= min(p.value for p in points)
    assert max(p.value for p in points) <= max(s.value for s in signals) + 1e-9
    if told == "worst":
        assert max(p.value for p in points) == max(s.value for s in signals)
    for first, second in itertools.pairwise(pieces):
        assert second[0].at - first[-1].at > 3 * step


def test_means_are_weighted() -> None:
    signals = [Signal("m", "x", 1.0, 1.0, 30.0), Signal("m", "x", 2.0, 0.0, 10.0)]
    assert mean(signals) == 0.75
    assert mean([Signal("m", "x", 1.0, 1.0), Signal("m", "x", 2.0, 0.0)]) == 0.5
    assert step_of(0, 600, 60) == 60
    assert step_of(0, 300_000, 60) == 1000


@given(st.floats(1e9, 2e9), st.floats(5, 4e7))
def test_there_are_a_few_ticks_inside(since: float, span: float) -> None:
    found = time_ticks(since, since + span)
    assert len(found) <= 6
    assert all(since <= at <= since + span for at, _ in found)
    assert len(found) >= 1 or span < 60


def test_every_picture_reads_signals_that_there_are() -> None:
    from penstock.spec.signals import ALWAYS, OF_CLASSES

    assert {name for plot in PLOTS for name in plot.of} <= {*ALWAYS, *OF_CLASSES, "live.judge"}
