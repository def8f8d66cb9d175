"""Properties of the split and of the whole stage: no text in two splits, shares exact, order of rows without influence."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.core.errors import PenstockError
from penstock.spec.pipeline import Split
from penstock.stages.data import normal, split

words = st.sampled_from(
    ["a", "A", "b", " b", "b\n", "É", "E\u0301", "é", "straße", "STRASSE", "c", "d\u200b", "d", "e f", "e  f", "\ufb01", "fi"]
)
text = st.lists(words, min_size=1, max_size=3).map(" ".join)
row = st.tuples(text, st.sampled_from(["x", "y", "z"]))


def key_of(value: str) -> bytes:
    return normal.key(value)


@given(st.text() | st.lists(words).map(" ".join))
def test_the_normal_form_is_reached_in_one_go(value) -> None:
    for form in (normal.one_line, normal.many_lines):
        assert form(form(value)) == form(value)
    assert normal.key(value) == normal.key(normal.one_line(value)) == normal.key(normal.many_lines(value))
    assert normal.one_line(value) == " ".join(normal.one_line(value).split())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row, min_size=1, max_size=40), st.sampled_from([[], ["normalize"], ["dedup"], ["normalize", "dedup"]]), st.integers(0, 5))
def test_no_text_is_in_two_splits(build, rows, clean, seed) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        try:
            built = build(sources=[{"uri": path}], clean=clean, split={"validation": 0.3, "test": 0.3, "seed": seed})
        except PenstockError:
            return
    where: dict[bytes, set[str]] = {}
    for name in split.NAMES:
        for value in built.table(name)["text"]:
            where.setdefault(key_of(value), set()).add(name)
    assert all(len(names) == 1 for names in where.values())
    tables = [*split.NAMES, "removed", "quarantine"]
    assert sum(built.table(name).height for name in tables) == len(rows), "every row is somewhere"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(row, min_size=6, max_size=30), st.lists(row, min_size=1, max_size=10))
def test_decontaminated_training_shares_nothing_with_the_test_source(build, rows, tests) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "rows.csv", Path(folder) / "test.csv"]
        for path, content in zip(paths, (rows, tests), strict=True):
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("text", "label"), *content])
        try:
            built = build(sources=[{"uri": paths[0]}], test=[{"uri": paths[1]}], clean=["decontaminate"])
        except PenstockError:
            return
    held = {key_of(value) for name in ("train", "validation") for value in built.table(name)["text"]}
    assert not held & {key_of(value) for value in built.table("test")["text"]}


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from("abc")), max_size=80, unique_by=lambda r: r[0]), st.randoms(), st.integers()
)
def test_order_of_rows_has_no_influence(rows, random, seed) -> None:
    def assigned(given_rows):
        keys = pl.Series([str(number).encode() for number, _ in given_rows], dtype=pl.Binary)
        labels = pl.Series([label for _, label in given_rows], dtype=pl.String)
        found = split.assign(keys, labels, Split(validation=0.2, test=0.1, seed=seed), with_test=True)
        return dict(zip(given_rows, found, strict=True))

    shuffled = list(rows)
    random.shuffle(shuffled)
    assert assigned(rows) == assigned(shuffled)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.floats(0.05, 0.4), st.booleans())
def test_shares_are_exact(sizes, share, with_test) -> None:
    rows = [(f"{label}-{i}".encode(), str(label)) for label, size in enumerate(sizes) for i in range(size)]
    keys, labels = pl.Series([k for k, _ in rows], dtype=pl.Binary), pl.Series([label for _, label in rows])
    found = split.assign(keys, labels, Split(validation=share, test=share), with_test).to_list()
    for label, size in enumerate(sizes):
        counts = Counter(s for s, (_, of) in zip(found, rows, strict=True) if of == str(label))
        assert counts[split.TRAIN] >= 1, "every class trains"
        assert abs(counts[split.VALIDATION] - size * share) <= 1 or counts[split.TRAIN] == 1
    if min(sizes) * (1 - 2 * share) >= 2:
        assert found.count(split.VALIDATION) == round(sum(sizes) * share)


def test_another_seed_gives_another_split() -> None:
    keys, labels = pl.Series([str(i).encode() for i in range(200)], dtype=pl.Binary), pl.Series(["a"] * 200)
    one, two = (split.assign(keys, labels, Split(seed=seed), False).to_list() for seed in (1, 2))
    assert one != two
    assert one.count(split.VALIDATION) == two.count(split.VALIDATION) == 20


def test_a_new_row_moves_few_others() -> None:
    keys = [str(i).encode() for i in range(1000)]
    before = split.assign(pl.Series(keys[:990], dtype=pl.Binary), pl.Series(["a"] * 990), Split(), False).to_list()
    after = split.assign(pl.Series(keys, dtype=pl.Binary), pl.Series(["a"] * 1000), Split(), False).to_list()
    assert sum(x != y for x, y in zip(before, after, strict=False)) <= 10
