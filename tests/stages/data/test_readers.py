"""Readers: every format and encoding gives the same rows; the fast and the careful CSV reader agree."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.spec.pipeline import Source
from penstock.stages.data.delimited import read_delimited
from penstock.stages.data.rows import NeedsCare, Wanted
from penstock.stages.data.survey import survey

ROWS = [('Grüße, "Welt"', "a"), ("two\nlines", "b"), ("tab\there", "a"), ("日本語 text", "b"), ("plain", "a")] * 8


def write(path: Path, encoding: str = "utf-8", line_end: str = "\r\n", mark: str = ",") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, lineterminator=line_end, delimiter=mark)
        writer.writerow(["text", "label"])
        writer.writerows((f"{text} {i}", label) for i, (text, label) in enumerate(ROWS))
    return path


def texts_of(built) -> list[str]:
    return sorted(text for name in ("train", "validation", "test") for text in built.table(name)["text"])


EXPECTED = sorted(f"{' '.join(text.split())} {i}" for i, (text, _) in enumerate(ROWS))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_in_any_unicode_encoding(build, tmp_path: Path, encoding: str, line_end: str) -> None:
    source = {"uri": write(tmp_path / "rows.csv", encoding, line_end)}
    if encoding == "utf-16-le":
        source["encoding"] = encoding  # no mark to know it by
    assert texts_of(build(sources=[source])) == EXPECTED


def test_encodings_of_one_byte_are_recognised(build, mirror: Path) -> None:
    path = mirror / "gutenberg_editions"
    latin = next((p for p in sorted(path.iterdir()) if not _is_utf8(p)), None)
    if latin is None:
        pytest.skip("no Latin-1 edition in the mirror")
    built = build("text-generation", sources=[{"uri": latin, "format": "text"}], clean=["normalize"])
    assert "\ufffd" not in "".join(built.table("train")["text"])


def _is_utf8(path: Path) -> bool:
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return True


def test_tsv_jsonl_json_parquet(build, tmp_path: Path) -> None:
    rows = [{"text": f"{text} {i}", "label": label} for i, (text, label) in enumerate(ROWS)]
    write(tmp_path / "rows.tsv", mark="\t")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    (tmp_path / "byid.json").write_text(json.dumps({str(i): row for i, row in enumerate(rows)}))
    (tmp_path / "inside.json").write_text(json.dumps({"version": 1, "data": rows}))
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    pl.DataFrame(rows).with_columns(pl.col("label").cast(pl.Categorical)).write_parquet(tmp_path / "category.parquet")
    tables = set()
    for name in ("rows.tsv", "rows.jsonl", "rows.json", "byid.json", "inside.json", "rows.parquet", "category.parquet"):
        built = build(sources=[{"uri": tmp_path / name}])
        assert texts_of(built) == EXPECTED, name
        tables.add((built.folder / "train.parquet").read_bytes())
    assert len(tables) == 1, "the same rows are the same bytes, whatever the format"


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (b"text,label\nx,a\ny,b\n", "csv"),
        (b"text\tlabel\nx, y, z\ta\ny\tb\n", "tsv"),
        (b'{"text": "x"}\n{"text": "y"}\n', "jsonl"),
        (b'[{"text": "x"}]', "json"),
        (b'{\n "a": {"text": "x"}}', "json"),
        (b"Just some prose.\nWith lines, and commas.\n", "text"),
    ],
)
def test_format_by_content_where_the_name_says_nothing(tmp_path: Path, content: bytes, form: str) -> None:
    path = tmp_path / "download"
    path.write_bytes(content)
    assert survey(path, path.name, Source(uri="x"), tmp_path).format == form


@pytest.mark.parametrize("name", ["crlf.txt", "mac.txt"])
def test_text_documents_have_plain_line_ends(build, tmp_path: Path, name: str) -> None:
    end = {"crlf.txt": "\r\n", "mac.txt": "\r"}[name]
    (tmp_path / name).write_bytes(end.join(f"line {i}" for i in range(100)).encode())
    built = build("text-generation", sources=[{"uri": tmp_path / name}], clean=["normalize"], split={"validation": 0.1, "test": 0})
    whole = built.table("train")["text"][0] + built.table("validation")["text"][0]
    assert whole == "\n".join(f"line {i}" for i in range(100))


def test_many_documents_are_drawn_whole(build, tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps({"text": f"document {i}\nsecond line"}) + "\n" for i in range(100)))
    built = build("text-generation", sources=[{"uri": tmp_path / "docs.jsonl"}])
    assert [built.table(name).height for name in ("train", "validation", "test")] == [80, 10, 10]
    assert all(text.startswith("document") and text.endswith("\nsecond line") for text in built.table("train")["text"])


cell = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], include_characters='\n\r\t",'), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(cell, cell), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_the_fast_reader_agrees_with_the_careful_one(tmp_path_factory, rows, line_end, quoting) -> None:
    folder = tmp_path_factory.mktemp("csv")
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=line_end, quoting=quoting)
        writer.writerow(["text", "label"])
        writer.writerows(rows)
    found = survey(path, "rows.csv", Source(uri="x", format="csv"), folder)
    wanted = Wanted("rows.csv", "text", "label")
    careful = list(read_delimited(found, wanted, careful=True))
    try:
        fast = list(read_delimited(found, wanted, careful=False))
    except NeedsCare:
        return
    assert [row for batch in fast for row in batch.rows.rows()] == [row for batch in careful for row in batch.rows.rows()]
    assert not any(batch.bad for batch in careful)


def test_the_fast_reader_is_used_for_clean_files(tmp_path: Path, mirror: Path) -> None:
    for path in (mirror / "banking77/train.csv", write(tmp_path / "rows.csv")):
        found = survey(path, path.name, Source(uri="x"), tmp_path)
        label = "category" if "banking" in str(path) else "label"
        rows = sum(batch.rows.height for batch in read_delimited(found, Wanted("x", "text", label), careful=False))
        assert rows == (10_003 if label == "category" else len(ROWS))


def test_semicolons_as_spreadsheets_write_them(build, tmp_path: Path) -> None:
    assert texts_of(build(sources=[{"uri": write(tmp_path / "rows.csv", mark=";")}])) == EXPECTED
