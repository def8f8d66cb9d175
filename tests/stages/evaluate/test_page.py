import html.parser
import json
import re

import numpy as np
import pytest

from penstock.engines.contract import EngineInfo
from penstock.spec.pipeline import Evaluate
from penstock.spec.steps import EvaluateConfig
from penstock.stages.evaluate import classification, plots
from penstock.stages.evaluate.markup import Markup, tag
from penstock.stages.evaluate.report import Facts, write_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)></style><svg onload=alert(3)>&amp;{{7*7}}"


class Outline(html.parser.HTMLParser):
    """Every tag with its attributes, the visible text, and whether all tags close in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.attributes += attributes
        if name != "meta":
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.text.append(data)


def facts(**changes):
    plain = {
        "name": "intents",
        "config": EvaluateConfig(task="text-classification", evaluate=Evaluate()),
        "split": "test",
        "rows": 300,
        "bundle_digest": "sha256:" + "b" * 64,
        "dataset_digest": "sha256:" + "d" * 64,
        "engine": EngineInfo("table", "text-classification", None, "int8", 128),
        "intervals": {},
        "timings": {"latency.p50_ms": 1.2, "latency.p95_ms": 3.4, "latency.p99_ms": 5.6, "throughput_rps": 812.0},
        "single_ms": tuple(np.random.default_rng(0).gamma(4, 0.4, 200)),
        "blocks": (),
        "samples": (),
    }
    return Facts(**{**plain, **changes})


def answers(classes, rows=300, right=0.8, name="label {}"):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, rows)
    probabilities = rng.dirichlet(np.full(classes, 0.3), rows) + (rng.random(rows) < right)[:, None] * 2 * np.eye(classes)[labels]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return classification.Answers([f"{i:04}" for i in range(rows)], labels, probabilities, [name.format(i) for i in range(classes)])


def written(folder, facts, answers, texts):
    write_report(folder, facts, answers, texts)
    text = (folder / "report.html").read_text("utf-8")
    outline = Outline()
    outline.feed(text)
    outline.close()
    assert outline.open == []
    return text, outline


def of(some, **changes):
    return facts(rows=len(some.labels), intervals=classification.metrics_of(some, 100, 0.95), **changes)


def test_the_page_fetches_and_runs_nothing(tmp_path):
    some = answers(5)
    text, outline = written(tmp_path, of(some), some, ["a text"] * 300)
    assert not {"script", "img", "link", "iframe", "object", "embed", "base", "form"} & set(outline.tags)
    assert not re.search(r"https?://|//[a-z]|url\(|@import|javascript:", text)
    assert [value for name, value in outline.attributes if name in ("src", "href", "srcset", "action")] == []
    assert "default-src 'none'" in dict(outline.attributes)["content"]


def test_hostile_texts_are_shown_and_not_run(tmp_path):
    some = answers(4, name=HOSTILE + "{}")
    generated = facts(name=HOSTILE, samples=((HOSTILE, HOSTILE),))
    for made, who in ((of(some, name=HOSTILE), some), (generated, None)):
        _, outline = written(tmp_path, made, who, [HOSTILE] * 300)
        assert not {"script", "img"} & set(outline.tags)
        assert [name for name, _ in outline.attributes if name.startswith("on")] == []
        assert "".join(outline.text).count(HOSTILE) > 1
        assert outline.tags.count("style") == 1


def test_the_page_tells_the_numbers_digests_and_worst_errors(tmp_path):
    some = answers(77, rows=3080)
    made = of(some)
    text, outline = written(tmp_path, made, some, [f"text number {i}" for i in range(3080)])
    visible = " ".join(outline.text)
    assert made.bundle_digest in visible
    assert made.dataset_digest in visible
    assert f"{made.intervals['accuracy'].value:.4f}" in visible
    assert f"{made.intervals['accuracy'].low:.4f}" in visible
    assert "812" in visible
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["metrics"]["accuracy"]["high"] == made.intervals["accuracy"].high
    worst = report["worst_errors"]
    assert [e["confidence"] for e in worst] == sorted((e["confidence"] for e in worst), reverse=True)
    assert all(e["label"] != e["prediction"] for e in worst)
    assert worst[0]["text"] in visible
    assert len(text) < 1_000_000


def test_all_77_labels_are_named_on_both_sides_of_the_map():
    some = answers(77, rows=3080)
    found = classification.confusion(some)
    drawn = Outline()
    drawn.feed(plots.heat_map(found["labels"], found["matrix"]))
    assert sum(text == "label 42" for text in drawn.text) == 2
    assert drawn.tags.count("rect") == sum(cell > 0 for row in found["matrix"] for cell in row)


def test_beyond_a_hundred_labels_those_with_the_most_errors_are_drawn(tmp_path):
    some = answers(150, rows=3000)
    text, _ = written(tmp_path, of(some), some, [""] * 3000)
    assert "Only the 100 labels with the most errors are drawn" in text


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_hopeless_and_a_perfect_model_can_be_drawn(tmp_path, right):
    labels = np.array([0, 1] * 20)
    sure = np.eye(2)[labels if right else 1 - labels]
    some = classification.Answers([str(i) for i in range(40)], labels, sure, ["a", "b"])
    written(tmp_path, of(some, single_ms=(1.0,) * 10), some, ["x"] * 40)


def test_a_report_without_latency_has_no_latency_plot(tmp_path):
    text, _ = written(tmp_path, facts(timings={}, single_ms=(), blocks=(1.0, 2.0, 2.5)), None, [])
    assert "Latency" not in text
    assert "bits per character of a block" in text


def test_markup_escapes_all_but_its_own():
    assert tag("p", "<b>", tag("i", "&"), title='"<') == '<p title="&quot;&lt;">&lt;b&gt;<i>&amp;</i></p>'
    assert tag("p", Markup("<b>")) == "<p><b></p>"


RANGES = [(0.0, 1.0), (0.875, 1.0), (0.0, 1234.0), (0.01, 0.05), (3.4, 3.9), (120.0, 121.0), (0.0, 0.0004)]


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_ticks_are_round_and_inside(low, high):
    found = plots.ticks(low, high)
    assert 3 <= len(found) <= 6
    assert all(low <= tick <= high + 1e-9 for tick in found)
