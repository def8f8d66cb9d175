"""The card says what a reader must know and needs nothing beside it; two datasets are compared by text."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from penstock.stages.data.compare import Relabelled, diff
from penstock.stages.data.plots import bars, columns


@pytest.fixture
def rows_csv(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"word {i},{'<red> & more' if i % 5 else 'blue|green'}\n" for i in range(60)) + "bad row\n")
    return path


def test_card_names_source_licence_personal_data_and_limits(build, rows_csv: Path) -> None:
    built = build(sources=[{"uri": rows_csv, "licence": "CC-BY-4.0", "contains_personal_data": True}])
    card = (built.folder / "card.md").read_text()
    assert card.startswith('---\ntask_categories: [text-classification]\nlicense: "CC-BY-4.0"\n---\n')
    limits = ("contains personal data", "times the rows of the smallest", "1 rows could not be read")
    for said in ("| rows.csv | training | CC-BY-4.0 | yes |", *limits):
        assert said in card
    assert str(rows_csv.parent) not in card, "a card does not tell where files lay"


def test_a_missing_licence_is_a_limit(build, rows_csv: Path) -> None:
    assert "declares no licence" in (build(sources=[{"uri": rows_csv}]).folder / "card.md").read_text()


class _Outside(HTMLParser):
    """Collects whatever a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.found += [tag for name, _ in attrs if name in ("src", "href")] + ([tag] if tag == "script" else [])


def test_html_card_is_self_contained(build, rows_csv: Path) -> None:
    page = (build(sources=[{"uri": rows_csv}]).folder / "card.html").read_text()
    reader = _Outside()
    reader.feed(page)
    assert reader.found == []
    assert page.count("<svg") == 2
    assert "&lt;red&gt; &amp; more" in page
    assert "<red>" not in page


def test_plots_are_well_formed_and_scaled() -> None:
    figure = ElementTree.fromstring(bars("Rows & <classes>", [("a", 10), ("b", 5), ("none", 0)]))
    widths = [int(bar.attrib["width"]) for bar in figure.iter("rect")]
    assert widths[0] == 2 * widths[1] > widths[2] == 0
    ElementTree.fromstring(columns("Lengths", [("16", 1), ("32", 9)], "characters"))
    assert bars("nothing", []) == ""


def test_diff_finds_added_removed_and_relabelled(build, tmp_path: Path) -> None:
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    rows = [(f"word {i}", "ab"[i % 2]) for i in range(50)]
    before.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in rows))
    changed = [(t, "c" if t == "word 7" else label) for t, label in rows if t != "word 8"] + [("brand new", "c")]
    after.write_text("text,label\n" + "".join(f"{t},{label}\n" for t, label in changed))
    split = {"validation": 0.01, "test": 0}
    first, second = (build(sources=[{"uri": path}], split=split).folder for path in (before, after))
    change = diff(first, second)
    held = change.splits["train"]
    both = [change.splits[name] for name in ("train", "validation", "test")]
    assert sum(s.added for s in both) - sum(s.removed for s in both) == 0
    assert "brand new" in held.added_examples
    assert "word 8" in held.removed_examples
    assert Relabelled("word 7", "b", "c") in held.relabelled_examples
    assert (change.labels_added, change.labels_removed) == (("c",), ())
    assert not change.empty
    assert diff(first, first).empty


def test_vocabulary_counts_words_once_and_says_when_it_stopped(build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("Word, word (word) «other» " * 500)
    sections = {"clean": [], "split": {"validation": 0.1, "test": 0}}
    assert build("text-generation", sources=[{"uri": path}], **sections).statistics["vocabulary"]["words"] == 2
    monkeypatch.setattr("penstock.stages.data.statistics.PIECE", 100)
    whole = build("text-generation", sources=[{"uri": path}], **sections).statistics["vocabulary"]
    assert (whole["words"], whole["complete"]) == (2, True)
    monkeypatch.setattr("penstock.stages.data.statistics.VOCABULARY_CHARACTERS", 1000)
    assert not build("text-generation", sources=[{"uri": path}], **sections).statistics["vocabulary"]["complete"]
