"""The data stage on real and small data: what is kept, what is removed by which rule, what lies in the artifact."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.digests import digest_file
from penstock.core.errors import DiskFull, Interrupted
from penstock.spec.pipeline import Source, Split
from penstock.spec.steps import DataConfig, ResolvedSource
from penstock.stages.data.stage import DataStage
from penstock.stages.data.write import TableWriter, split_schema
from penstock.testing.stages import FolderInputs, FolderOutputs, RecordingContext, externals


def test_banking77_as_published(build, mirror: Path) -> None:
    built = build(
        sources=[{"uri": mirror / "banking77/train.csv", "label": "category", "licence": "CC-BY-4.0"}],
        test=[{"uri": mirror / "banking77/test.csv", "label": "category", "licence": "CC-BY-4.0"}],
    )
    rows = {name: built.table(name).height for name in ("train", "validation", "test")}
    assert rows["test"] == 3080
    assert rows["train"] + rows["validation"] + built.table("removed").height == 10_003
    assert built.statistics["removed"] == {"normalize": 0, "dedup": 4, "decontaminate": 7}
    assert built.table("quarantine").height == 0
    assert len(built.labels) == 77
    assert built.labels == sorted(json.loads((mirror / "banking77/categories.json").read_text()))
    assert built.run.outputs.metas["dataset"] == {"task": "text-classification", "rows": rows, "labels": 77}
    shares = built.statistics["splits"]
    for label in built.labels:
        held, kept = shares["validation"]["labels"][label], shares["train"]["labels"][label]
        assert abs(held - 0.1 * (held + kept)) <= 1


def test_real_tables_have_no_line_breaks_left_and_no_shared_text(build, mirror: Path) -> None:
    built = build(
        sources=[{"uri": mirror / "banking77/train.csv", "label": "category"}],
        test=[{"uri": mirror / "banking77/test.csv", "label": "category"}],
    )
    texts = {name: {t.casefold() for t in built.table(name)["text"]} for name in ("train", "validation", "test")}
    assert not any("\n" in text for group in texts.values() for text in group)
    assert not texts["train"] & texts["validation"]
    assert not (texts["train"] | texts["validation"]) & texts["test"]


def test_the_same_input_gives_the_same_bytes(build, mirror: Path) -> None:
    def once() -> str:
        return build(sources=[{"uri": mirror / "banking77/test.csv", "label": "category"}]).digest

    assert once() == once()


def test_shakespeare_is_cut_in_order(build, mirror: Path) -> None:
    path = mirror / "tinyshakespeare/input.txt"
    built = build("text-generation", sources=[{"uri": path}], clean=[], split={"validation": 0.1, "test": 0.05})
    train, test, validation = ("".join(built.table(name)["text"]) for name in ("train", "test", "validation"))
    whole = path.read_text()
    assert train + test + validation == whole
    assert len(validation) == len(whole) - int(len(whole) * 0.9)
    assert built.statistics["vocabulary"]["characters"] == 65
    assert not (built.folder / "labels.json").exists()


def test_layout_and_types(build, rows_csv: Path) -> None:
    built = build(sources=[{"uri": rows_csv}])
    files = {p.name for p in built.folder.iterdir()}
    tables = {f"{name}.parquet" for name in ("train", "validation", "test", "quarantine", "removed")}
    assert files == tables | {"labels.json", "statistics.json", "card.md", "card.html"}
    kinds = {f.name: str(f.type) for f in pq.read_schema(built.folder / "train.parquet")}
    assert kinds == {"id": "string", "text": "string", "label": "int32"}
    assert built.table("train")["id"].is_unique().all()


def test_rules_apply_in_the_order_declared(build, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"word number {i},{'ab'[i % 2]}\n" for i in range(20)) + "hi,a\nHI,b\n")
    first = build(sources=[{"uri": path}], clean=["normalize", {"length": {"minimum": 5}}, "dedup"]).table("removed")
    assert sorted(first["rule"]) == ["length", "length"]
    second = build(sources=[{"uri": path}], clean=["normalize", "dedup", {"length": {"minimum": 5}}]).table("removed")
    assert sorted(second["rule"]) == ["dedup", "length"]


def test_test_rows_are_never_removed_by_dedup_or_length(build, tmp_path: Path, rows_csv: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\nx,red\nX,red\nword 3,blue\n")
    built = build(
        sources=[{"uri": rows_csv}], test=[{"uri": test}], clean=["normalize", "dedup", {"length": {"minimum": 3}}, "decontaminate"]
    )
    assert built.table("test")["text"].to_list() == ["x", "X", "word 3"]
    assert built.table("removed").select("text", "split", "rule").rows() == [("word 3", "train", "decontaminate")]
    assert built.statistics["duplicates"]["test"] == 1


def test_label_conflicts_are_counted_and_the_first_is_kept(build, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\nSame  thing,a\nsame thing,b\n" + "".join(f"other {i},{'ab'[i % 2]}\n" for i in range(20)))
    built = build(sources=[{"uri": path}])
    assert built.statistics["duplicates"]["label_conflicts"] == 1
    assert built.table("removed")["text"].to_list() == ["same thing"]
    assert "several labels" in (built.folder / "card.md").read_text()


def test_contamination_without_the_rule_is_said_aloud(build, tmp_path: Path, rows_csv: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\nWord  3,red\n")
    built = build(sources=[{"uri": rows_csv}], test=[{"uri": test}], clean=["normalize"])
    assert built.statistics["training_rows_equal_to_test_rows"] == 1
    assert "flatter" in (built.folder / "card.md").read_text()
    assert any("equal a test row" in line for line in built.run.context.logs)


def test_scratch_of_a_killed_attempt_is_not_trusted(build, rows_csv: Path) -> None:
    built = build(sources=[{"uri": rows_csv}])
    assert not list((built.run.context.scratch / "rows").glob("*")), "spilled rows are dropped at the end"


def test_ids_of_test_rows_do_not_depend_on_training_rows(build, tmp_path: Path, rows_csv: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\nword 1,red\nnew words,blue\nnew words,blue\n")
    plain = build(sources=[{"uri": rows_csv}], test=[{"uri": test}]).table("test")["id"].to_list()
    other = tmp_path / "more.csv"
    other.write_text("text,label\nnew words,blue\n")
    more = build(sources=[{"uri": rows_csv}, {"uri": other}], test=[{"uri": test}]).table("test")["id"].to_list()
    assert plain == more
    assert len(set(plain)) == 3


@pytest.fixture
def rows_csv(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"word {i},{('red', 'blue')[i % 2]}\n" for i in range(40)))
    return path


def test_a_stage_that_is_asked_to_stop_stops(tmp_path: Path, rows_csv: Path) -> None:
    source = Source(uri=str(rows_csv), label="label")
    given = ResolvedSource(digest=digest_file(rows_csv), file_name="rows.csv", source=source)
    config = DataConfig(task="text-classification", sources=(given,), test=(), clean=(), split=Split())
    context = RecordingContext(tmp_path / "context", stop_after=0)
    with pytest.raises(Interrupted, match="stopped while reading"):
        DataStage().run(config, FolderInputs(externals=externals(rows_csv)), FolderOutputs(tmp_path / "outputs"), context)


def test_a_full_disk_is_said_plainly(tmp_path: Path, rows_csv: Path) -> None:
    source = Source(uri=str(rows_csv), label="label")
    given = ResolvedSource(digest=digest_file(rows_csv), file_name="rows.csv", source=source)
    config = DataConfig(task="text-classification", sources=(given,), test=(), clean=(), split=Split())

    class FullDisk(FolderOutputs):
        def folder(self, name: str, kind: str) -> Path:
            path = super().folder(name, kind)
            (path / "train.parquet").symlink_to("/dev/full")
            return path

    with pytest.raises(DiskFull, match="no space left while writing"):
        DataStage().run(config, FolderInputs(externals=externals(rows_csv)), FullDisk(tmp_path / "o"), RecordingContext(tmp_path / "c"))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_table_bytes_do_not_depend_on_how_rows_arrive(tmp_path_factory, portions) -> None:
    folder = tmp_path_factory.mktemp("tables")
    rows = [{"id": str(i), "text": "x" * (i * 37 % 100)} for i in range(sum(portions))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("penstock.stages.data.write.GROUP_ROWS", 5)
        patch.setattr("penstock.stages.data.write.GROUP_BYTES", 150)
        for name, sizes in (("whole", [len(rows)]), ("portions", portions)):
            start = 0
            with TableWriter(folder / name, split_schema(False)) as writer:
                for size in sizes:
                    writer.write(pl.DataFrame(rows[start : start + size]))
                    start += size
    assert (folder / "whole").read_bytes() == (folder / "portions").read_bytes()
    assert pl.read_parquet(folder / "whole").to_dicts() == rows
