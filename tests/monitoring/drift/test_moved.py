"""What moved is named: words, categories, ranges, topics, slices; masked tokens never are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.monitoring.drift.counts import Counts
from penstock.monitoring.drift.moved import moved_categories, moved_numbers, moved_words, tellable
from penstock.monitoring.drift.nearest import Nearest
from penstock.monitoring.drift.numbers import Numbers
from penstock.monitoring.drift.slices import concentrated
from penstock.monitoring.drift.topics import as_rows, topics
from penstock.monitoring.drift.words import Bags, Words, bucket, words

USUAL = [f"where is my {thing} please" for thing in ("card", "money", "transfer", "refund")] * 100


def test_new_and_grown_words_are_named_and_masked_ones_are_not() -> None:
    reference, _ = Words.fit(USUAL)
    window = USUAL[:200] + ["the [EMAIL] of my passcode is 12345", "passcode [EMAIL] forgotten 999"] * 20
    moved = moved_words(reference, window)
    told = {one["word"]: one for one in moved.told["words"]}
    assert told["passcode"] == {"word": "passcode", "share": round(40 / 240, 4), "was": 0.0, "new": True}
    assert not any("[" in word or word.strip("0") == "" for word in told)
    assert (moved.rows[200:] > 0).all()
    assert not (moved.rows[:200] > 0).any()


def test_words_that_vanished_are_named_from_earlier_windows() -> None:
    reference, _ = Words.fit(USUAL)
    moved = moved_words(reference, ["quite another thing"] * 100, {bucket("card"): "card", bucket("[EMAIL]"): "[EMAIL]"})
    assert [one["word"] for one in moved.told["vanished"]] == ["card"]
    assert "vanished" not in moved_words(reference, ["quite another thing"] * 100).told


@given(st.text(max_size=80))
def test_words_of_any_text(text: str) -> None:
    found = words(text)
    assert len(found) == len(set(found))
    assert all(word and (word[0] == "[" or not any(c.isdecimal() and c != "0" for c in word)) for word in found)
    bags = Bags.of([text, "", text])
    assert len(bags) == 3
    assert bags[np.array([2])].buckets.tolist() == bags[np.array([0])].buckets.tolist()


def test_scripts_without_spaces_have_words_too() -> None:
    assert words("私の口座 2024年") == ["私の", "の口", "口座", "0000", "年"]
    assert words("Don't STOP [CARD] stop") == ["don't", "stop", "[CARD]"]
    assert not tellable("[CARD]")
    assert not tellable("000")


def test_categories_that_grew_and_fell() -> None:
    reference = Counts({"a": 700.0, "b": 200.0, "c": 100.0})
    values = ["a"] * 30 + ["b"] * 40 + ["new"] * 30
    moved = moved_categories(reference, values, reference.lift(values))
    told = {one["value"]: (one["share"], one["was"]) for one in moved.told["values"]}
    assert told["new"] == (0.3, 0.0)
    assert told["a"] == (0.3, 0.7)
    assert (moved.rows > 0).tolist() == [value in ("b", "new") for value in values]


def test_the_range_that_grew() -> None:
    chance = np.random.default_rng(1)
    reference, _ = Numbers.fit(chance.normal(10, 1, 5000))
    values = np.concatenate([chance.normal(10, 1, 200), chance.normal(3, 0.5, 100)])
    moved = moved_numbers(reference, values)
    low, high = moved.told["grew"]["range"]
    assert low is None
    assert 3 < high < 10
    assert moved.told["grew"]["share"] > moved.told["grew"]["was"] + 0.25
    assert (moved.rows[200:] == 1).all()


def vectors(chance: np.random.Generator, centres: np.ndarray, rows: int) -> np.ndarray:
    found = centres[chance.integers(0, len(centres), rows)] + chance.normal(scale=0.1, size=(rows, centres.shape[1]))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def test_a_new_topic_is_found_described_and_exemplified() -> None:
    chance = np.random.default_rng(2)
    old, new = np.eye(32)[:8], np.eye(32)[20:21]
    reference, _ = Nearest.fit(vectors(chance, old, 800))
    rows = np.concatenate([vectors(chance, old, 180), vectors(chance, new, 20)])
    texts = ["where is my card"] * 180 + ["buy crypto coins with my card"] * 20
    found = topics(reference, rows, texts, [f"q{n}" for n in range(200)], Words.fit(USUAL)[0])
    (topic,) = found.told["topics"]
    assert 0.04 <= topic["share"] <= 0.1
    assert topic["was"] <= 0.02
    assert set(topic["words"][:4]) <= {"buy", "crypto", "coins", "with"}
    assert {int(one[1:]) for one in topic["examples"]} <= set(range(180, 200))
    assert {int(one[1:]) for one in as_rows(found, [f"q{n}" for n in range(200)])} <= set(range(180, 200))


def test_no_topic_where_nothing_is_new() -> None:
    chance = np.random.default_rng(3)
    old = np.eye(32)[:8]
    reference, _ = Nearest.fit(vectors(chance, old, 800))
    found = topics(reference, vectors(chance, old, 200), ["where is my card"] * 200, ["x"] * 200)
    assert found.told == {}


def test_the_slice_in_which_it_is_concentrated() -> None:
    scores = np.array([1.0] * 40 + [0.0] * 160)
    fields = {"channel": ["phone"] * 45 + ["web"] * 155, "noise": ["x", "y"] * 100, "id": [str(n) for n in range(200)]}
    (found,) = concentrated(scores, fields)
    assert (found["field"], found["value"], found["rows"]) == ("channel", "phone", 45)
    assert found["strange"] > 0.8
    assert found["elsewhere"] == 0
    assert concentrated(np.zeros(200), fields) == []
