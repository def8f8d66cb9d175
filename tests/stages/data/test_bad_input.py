"""Bad sources: each is refused or set aside, with a message that names the place and the way out."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from penstock.core.errors import BadInput, ColumnMissing, DataUnusable, SourceUnreadable
from penstock.spec.pipeline import Source
from penstock.stages.data.survey import survey

GOOD = "".join(f"good row number {i},{'ab'[i % 2]}\n" for i in range(30))


def csv_of(path: Path, body: str = GOOD, header: str = "text,label\n") -> Path:
    path.write_text(header + body, encoding="utf-8", newline="")
    return path


def bad_of(built) -> list[tuple[int, str]]:
    return built.table("quarantine").select("line", "reason").rows()


def test_empty_file(build, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(SourceUnreadable, match=r"empty\.csv is empty \(0 bytes\)"):
        build(sources=[{"uri": tmp_path / "empty.csv"}])


def test_header_only(build, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="has no rows"):
        build(sources=[{"uri": csv_of(tmp_path / "head.csv", "")}])


def test_cut_off_gzip(build, tmp_path: Path) -> None:
    whole = gzip.compress((csv_of(tmp_path / "whole.csv", os.urandom(20_000).hex() + ",a\n" + GOOD)).read_bytes())
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceUnreadable, match=r"cut\.csv\.gz is truncated"):
        build(sources=[{"uri": tmp_path / "cut.csv.gz"}])


def test_whole_gzip_is_read(build, tmp_path: Path) -> None:
    (tmp_path / "whole.csv.gz").write_bytes(gzip.compress(csv_of(tmp_path / "whole.csv").read_bytes()))
    assert build(sources=[{"uri": tmp_path / "whole.csv.gz"}]).run.metrics["rows.removed"] == 0


def test_cut_off_parquet(build, tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    pl.DataFrame({"text": [f"row {i}" for i in range(1000)], "label": ["a", "b"] * 500}).write_parquet(whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(SourceUnreadable, match=r"cut\.parquet is no complete Parquet file"):
        build(sources=[{"uri": tmp_path / "cut.parquet"}])


def test_quote_open_at_the_end(build, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="quote opened on line 32 is never closed"):
        build(sources=[{"uri": csv_of(tmp_path / "open.csv", GOOD + '"never closed,a\nand on\n')}])


@pytest.mark.parametrize(
    ("head", "what"),
    [(b"\x89PNG\r\n\x1a\n", "a PNG image"), (b"PK\x03\x04", "a zip archive"), (b"%PDF-1.7", "a PDF document"), (b"\x7fELF", "a program")],
)
def test_binary_with_a_known_head(build, tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "odd.csv").write_bytes(head + bytes(range(256)) * 20)
    with pytest.raises(SourceUnreadable, match=what):
        build(sources=[{"uri": tmp_path / "odd.csv"}])


def test_binary_without_one(build, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_bytes(b"text,label\n" + bytes(range(32)) * 500)
    with pytest.raises(SourceUnreadable, match="is binary"):
        build(sources=[{"uri": tmp_path / "odd.csv"}])


def test_declared_encoding_that_is_wrong(build, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(("text,label\n" + GOOD).encode() + "größe,a\n".encode("latin-1"))
    with pytest.raises(SourceUnreadable, match=r"rows\.csv is not utf-16"):
        build(sources=[{"uri": tmp_path / "rows.csv", "encoding": "utf-16"}])
    with pytest.raises(BadInput, match="no encoding is called 'utf-9'"):
        build(sources=[{"uri": tmp_path / "rows.csv", "encoding": "utf-9"}])


def test_declared_utf8_that_is_latin1_nearly_everywhere(build, tmp_path: Path) -> None:
    body = "".join(f"größe nummer {i},{'ab'[i % 2]}\n" for i in range(30))
    (tmp_path / "rows.csv").write_bytes(("text,label\n" + body).encode("latin-1"))
    with pytest.raises(SourceUnreadable, match="not utf-8: 30 of 30 rows"):
        build(sources=[{"uri": tmp_path / "rows.csv", "encoding": "utf-8"}])
    built = build(sources=[{"uri": tmp_path / "rows.csv"}], clean=["normalize"])
    assert all("größe" in text for text in built.table("train")["text"])


def test_other_bytes_in_the_middle_of_utf8(build, tmp_path: Path) -> None:
    rows = [f"grüße {i},{'ab'[i % 2]}\n".encode() for i in range(60)]
    rows[30] = b"gr\xfc\xdfe 30,a\n"
    (tmp_path / "rows.csv").write_bytes(b"text,label\n" + b"".join(rows))
    built = build(sources=[{"uri": tmp_path / "rows.csv"}])
    assert bad_of(built) == [(32, "text is not valid in the source's encoding")]
    assert built.table("quarantine")["raw"].to_list() == [r"gr\xfc\xdfe 30,a"]
    assert any("1 of 60 rows set aside" in line for line in built.run.context.logs)


@pytest.mark.parametrize("name", ["line.csv", "line.jsonl", "line.txt", "line"])
def test_a_line_of_one_gigabyte_fails_fast_in_bounded_memory(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(b"text,label\n" if name.endswith("csv") else b"")
        file.write(b"long words " * 100_000)
        file.truncate(1 << 30)
    tracemalloc.start()
    with pytest.raises(SourceUnreadable, match=r"line longer than 16 MiB"):
        survey(path, path.name, Source(uri=str(path)), path.parent)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


def test_missing_column_lists_columns_and_the_nearest(build, tmp_path: Path) -> None:
    path = csv_of(tmp_path / "rows.csv", header="text,category\n")
    with pytest.raises(ColumnMissing, match=r"no column 'categori'; did you mean 'category'\? \(it has: 'text', 'category'\)"):
        build(sources=[{"uri": path, "label": "categori"}])


def test_missing_column_in_jsonl_and_parquet(build, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "x", "klass": "a"}\n' * 3)
    with pytest.raises(ColumnMissing, match="'klass'"):
        build(sources=[{"uri": tmp_path / "rows.jsonl", "label": "class"}])
    pl.DataFrame({"body": ["x"], "label": ["a"]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(ColumnMissing, match="'body'"):
        build(sources=[{"uri": tmp_path / "rows.parquet"}])


def test_no_label_declared(build, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs `label:`"):
        build(sources=[{"uri": csv_of(tmp_path / "rows.csv"), "label": None}])


def test_duplicate_header(build, tmp_path: Path) -> None:
    path = csv_of(tmp_path / "rows.csv", "a,b,x\nc,d,y\n", header="text,text,label\n")
    with pytest.raises(BadInput, match="2 columns called 'text'"):
        build(sources=[{"uri": path}])


def test_duplicate_header_elsewhere_is_no_matter(build, tmp_path: Path) -> None:
    path = csv_of(tmp_path / "rows.csv", "".join(f"x,text {i},{'ab'[i % 2]},y\n" for i in range(10)), header="n,text,label,n\n")
    assert build(sources=[{"uri": path}]).table("train").height == 8


def test_one_class_only(build, tmp_path: Path) -> None:
    with pytest.raises(DataUnusable, match="have the one label 'a'"):
        build(sources=[{"uri": csv_of(tmp_path / "rows.csv", "x,a\ny,a\nz,a\n")}])


def test_label_unseen_in_training(build, tmp_path: Path) -> None:
    test = csv_of(tmp_path / "test.csv", "one,a\ntwo,zebra\nthree,zebra\nfour,yak\n")
    with pytest.raises(DataUnusable, match=r"3 test rows have 2 labels that no training row has: 'zebra' \(2\), 'yak' \(1\)"):
        build(sources=[{"uri": csv_of(tmp_path / "rows.csv")}], test=[{"uri": test}])


def test_all_rows_removed(build, tmp_path: Path) -> None:
    with pytest.raises(DataUnusable, match=r"no training row is left: 30 by length"):
        build(sources=[{"uri": csv_of(tmp_path / "rows.csv")}], clean=[{"length": {"minimum": 1000}}])


def test_all_rows_set_aside(build, tmp_path: Path) -> None:
    with pytest.raises(DataUnusable, match=r"2 set aside as bad; first bad row: rows.csv line 2: label is empty"):
        build(sources=[{"uri": csv_of(tmp_path / "rows.csv", "x,\ny,\n")}])


def test_bad_csv_rows_are_placed_and_explained(build, tmp_path: Path) -> None:
    body = GOOD + 'short\n"quoted\nnewline",a\nx,a,too many\n  ,b\nno label,\nwith\0nul,a\n'
    built = build(sources=[{"uri": csv_of(tmp_path / "rows.csv", body)}])
    assert bad_of(built) == [
        (32, "1 fields where the header has 2"),
        (35, "3 fields where the header has 2"),
        (36, "text is empty"),
        (37, "label is empty"),
        (38, "text holds a NUL byte"),
    ]
    assert built.table("quarantine")["raw"][1] == "x,a,too many"
    assert built.statistics["quarantined"]["rows"] == 5
    texts = {text for name in ("train", "validation", "test") for text in built.table(name)["text"]}
    assert "quoted newline" in texts


def test_bad_json_lines(build, tmp_path: Path) -> None:
    good = "".join(f'{{"text": "row {i}", "label": {i % 2}}}\n' for i in range(20))
    bad = '{"text": "cut\n[1]\n{"text": 3, "label": "a"}\n{"text": "x"}\n{"text": "x", "label": 1.5}\n{"text": null, "label": 1}\n'
    (tmp_path / "rows.jsonl").write_text(good + "\n" + bad)
    built = build(sources=[{"uri": tmp_path / "rows.jsonl"}])
    reasons = [(line, reason.split(":")[0]) for line, reason in bad_of(built)]
    assert reasons == [
        (22, "not JSON"),
        (23, "not an object but list"),
        (24, "text is not a string but an integer"),
        (25, "label is missing"),
        (26, "label is not a string or integer but a number"),
        (27, "text is missing"),
    ]
    assert built.labels == ["0", "1"]


def test_missing_values_in_parquet(build, tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": [f"row {i}" for i in range(20)] + [None, "x"], "label": [i % 2 for i in range(21)] + [None]})
    frame.write_parquet(tmp_path / "rows.parquet")
    assert bad_of(build(sources=[{"uri": tmp_path / "rows.parquet"}])) == [(21, "text is missing"), (22, "label is missing")]


def test_wrong_types_in_parquet(build, tmp_path: Path) -> None:
    pl.DataFrame({"text": [1.5], "label": ["a"]}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(BadInput, match="column 'text' holds double, not text"):
        build(sources=[{"uri": tmp_path / "rows.parquet"}])


def test_json_that_is_no_table(build, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text('{"a": 1}')
    with pytest.raises(SourceUnreadable, match="neither a list of objects"):
        build(sources=[{"uri": tmp_path / "rows.json"}])
    (tmp_path / "cut.json").write_text('[{"text": "a"')
    with pytest.raises(SourceUnreadable, match="not a JSON document"):
        build(sources=[{"uri": tmp_path / "cut.json"}])


def test_long_raw_text_is_clipped(build, tmp_path: Path) -> None:
    built = build(sources=[{"uri": csv_of(tmp_path / "rows.csv", GOOD + "x" * 5000 + ",a,b\n")}])
    assert len(built.table("quarantine")["raw"][0]) == 501


def test_text_file_for_classification(build, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("some words\n")
    with pytest.raises(BadInput, match="plain text, which has no labels"):
        build(sources=[{"uri": tmp_path / "rows.txt"}])


def test_a_document_too_large_to_hold_is_refused_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.json"
    path.write_text("[" + " " * 20_000_000 + "]")
    monkeypatch.setattr("penstock.stages.data.survey.DOCUMENT_LIMIT", 10 << 20)
    with pytest.raises(SourceUnreadable, match="one json document of more than 10 MiB"):
        survey(path, path.name, Source(uri=str(path)), tmp_path)


def test_more_bad_rows_than_memory_is_for(build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.stages.data.index.BAD_LIMIT", 10)
    with pytest.raises(DataUnusable, match=r"more than 10 rows cannot be used; the last: rows\.csv line"):
        build(sources=[{"uri": csv_of(tmp_path / "rows.csv", GOOD + "bad\n" * 20)}])


def test_a_character_cut_off_at_the_end(build, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(("text,label\n" + GOOD + "a,grün").encode()[:-2])
    assert bad_of(build(sources=[{"uri": tmp_path / "rows.csv"}])) == [(32, "label is not valid in the source's encoding")]
    (tmp_path / "wide.csv").write_bytes(("text,label\n" + GOOD).encode("utf-16")[:-1])
    with pytest.raises(SourceUnreadable, match=r"wide\.csv is not utf-16"):
        build(sources=[{"uri": tmp_path / "wide.csv"}])
