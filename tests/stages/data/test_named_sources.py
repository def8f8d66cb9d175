"""Sources that have names, and parts of sources: rows say where they are from, the same ones are taken each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def table(folder: Path, name: str, rows: range, labels: tuple[str, ...] = ("a", "b")) -> str:
    lines = [f"{name} text number {n},{labels[n % len(labels)]}" for n in rows]
    (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    return str(folder / f"{name}.csv")


def test_rows_of_named_sources_say_which(build: Callable[..., Any], tmp_path: Path) -> None:
    old, new = table(tmp_path, "old", range(60)), table(tmp_path, "new", range(40))
    test = [{"uri": table(tmp_path, "old-test", range(10)), "name": "old"}, {"uri": table(tmp_path, "new-test", range(8)), "name": "new"}]
    built = build(sources=[{"uri": old}, {"uri": new, "name": "new"}], test=test)
    assert set(built.table("train")["source"]) == {"other", "new"}
    assert dict(built.table("test")["source"].value_counts().iter_rows()) == {"old": 10, "new": 8}
    assert all(text.startswith("new") == (source == "new") for text, source in built.table("train").select("text", "source").iter_rows())


def test_without_names_nothing_changes(build: Callable[..., Any], tmp_path: Path) -> None:
    uri = table(tmp_path, "old", range(60))
    assert build(sources=[{"uri": uri}]).table("train").columns == ["id", "text", "label"]


def test_a_named_document_is_cut_with_its_name(build: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("word " * 4000)
    built = build(task="text-generation", sources=[{"uri": tmp_path / "book.txt", "name": "book"}])
    assert set(built.table("validation")["source"]) == {"book"}


def everything(built: Any) -> set[str]:
    return {row for split in ("train", "validation", "test") for row in built.table(split)["id"]}


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_sample_is_the_same_each_time_and_part_of_a_larger_one(build: Callable[..., Any], tmp_path: Path, share: float) -> None:
    uri = table(tmp_path, "old", range(1000))
    first = build(sources=[{"uri": uri, "sample": share}])
    assert first.digest == build(sources=[{"uri": uri, "sample": f"{share:%}"}]).digest
    larger = build(sources=[{"uri": uri, "sample": min(share + 0.1, 1.0)}])
    assert everything(first) <= everything(larger) <= everything(build(sources=[{"uri": uri}]))
    assert abs(len(everything(first)) - 1000 * share) < 60
    assert f"of which {share:g} are taken" in "\n".join(first.run.context.logs)
