"""Rows of every format, in order, whole, and with their faults in their places."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import BadInput, SourceUnreadable
from penstock.serving.batch.rows import columns_of, read_rows

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0\r"), min_size=1)


@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20), st.integers(0, 25))
def test_every_format_gives_the_same_rows(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], skip: int) -> None:
    import csv

    import polars as pl

    folder = tmp_path_factory.mktemp("rows")
    (folder / "a.jsonl").write_bytes(b"".join(orjson.dumps({"x": x, "y": y}) + b"\n" for x, y in pairs))
    for name, mark in (("a.csv", ","), ("a.tsv", "\t")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=mark).writerows([("x", "y"), *pairs])
    pl.DataFrame({"x": [x for x, _ in pairs], "y": [y for _, y in pairs]}).write_parquet(folder / "a.parquet", row_group_size=3)
    for file_ in folder.iterdir():
        found = list(read_rows(file_, skip))
        assert [row.number for row in found] == list(range(skip, len(pairs)))
        assert [(row.values["x"], row.values["y"]) for row in found] == pairs[skip:]
        assert columns_of(file_) == ["x", "y"]


def test_faults_stand_in_their_places(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\nno\n[1]\n{"text": "b"}\n')
    found = list(read_rows(tmp_path / "a.jsonl"))
    assert [(row.number, bool(row.fault)) for row in found] == [(0, False), (1, True), (2, True), (3, False)]
    (tmp_path / "b.csv").write_text("text,label\na,1\nb\nc,3\n")
    assert [row.fault for row in read_rows(tmp_path / "b.csv")] == ["", "1 fields where the header has 2", ""]


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    for name, data, error, match in (
        ("a.xlsx", b"x", BadInput, "no format"),
        ("a.csv", b"", SourceUnreadable, "no header"),
        ("b.csv", b"a,a\n1,2\n", BadInput, "two columns of one name"),
        ("c.csv", b"text\n\xff\n", SourceUnreadable, "not UTF-8"),
        ("d.parquet", b"PAR1 but no more", SourceUnreadable, "no complete Parquet"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(error, match=match):
            list(read_rows(tmp_path / name))
    with pytest.raises(SourceUnreadable, match="no file"):
        list(read_rows(tmp_path / "none.jsonl"))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    line = orjson.dumps({"text": "x" * 1000}) + b"\n"
    with (tmp_path / "big.jsonl").open("wb") as file:
        file.writelines(line for _ in range(20_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_rows(tmp_path / "big.jsonl")) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # of 20 MB
    finally:
        tracemalloc.stop()
