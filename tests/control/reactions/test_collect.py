"""Which requests become rows to learn from, and which never do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.control.erasure import mark, marked
from penstock.control.reactions.collect import Gathered, NewRow, chosen, parted
from penstock.serving.feedback import Feedback
from penstock.serving.joined import Joined


def asked(n: int, label: str | None = None, score: float | None = None, user: str | None = None, **record: Any) -> Joined:
    row = {
        "id": f"r{n}",
        "ts": float(n),
        "status": 200,
        "text_in": f"text {n}",
        "label": "a",
        "confidence": 0.5,
        "session": f"s{n}",
        **record,
    }
    said = (Feedback(n + 0.5, f"r{n}", f"fb{n}", score=score, label=label, user=user),) if label or score is not None or user else ()
    return Joined(row, said, score, label, None)


def rows_of(
    offered: list[Joined], data: Any = "captured+feedback", erased: set[str] | None = None
) -> tuple[dict[str, str], dict[str, int]]:
    found = chosen(offered, "text-classification", data, erased or set(), Counter())
    return {row.text: row.label or "" for row in found.rows}, dict(found.left_out)


def many(label: str, start: int, count: int = 5) -> list[Joined]:
    return [asked(n, label) for n in range(start, start + count)]


def test_labels_and_approvals_are_learnt_from_objections_are_not() -> None:
    offered = [*many("a", 0), asked(10, score=1.0), asked(11, score=-1.0), asked(12)]
    found, left = rows_of(offered)
    assert found == {f"text {n}": "a" for n in (0, 1, 2, 3, 4, 10)}
    assert left == {"no label": 2}
    assert set(rows_of(offered, "feedback")[0]) == {f"text {n}" for n in range(5)}
    sure = [*offered, asked(13, confidence=0.95), asked(14, confidence=0.95, score=-0.5)]
    assert "text 13" in rows_of(sure, "captured")[0]
    assert "text 14" not in rows_of(sure, "captured")[0]
    assert "text 13" not in rows_of(sure)[0]


@pytest.mark.parametrize(
    ("kept_out", "reason"),
    [
        ({"training": False}, "no consent"),
        ({"text_in": None}, "text not captured"),
        ({"status": 500}, "no answer to a client"),
        ({"shadow_of": "r0"}, "no answer to a client"),
    ],
)
def test_what_is_never_learnt_from(kept_out: dict[str, Any], reason: str) -> None:
    found, left = rows_of([*many("a", 0), asked(20, "a", **kept_out)])
    assert "text 20" not in found
    assert left == {reason: 1}


@pytest.mark.parametrize("subject", ["r20", "s20", "u-ann", "key-9"])
def test_what_was_erased_is_not_learnt_from(subject: str) -> None:
    found, left = rows_of([*many("a", 0), asked(20, "a", user="u-ann", key="key-9")], erased={subject})
    assert "text 20" not in found
    assert left == {"erased": 1}


def test_of_the_same_text_what_a_person_said_last_counts() -> None:
    same = {"text_in": "how?"}
    offered = [*many("a", 0), *many("b", 10), asked(20, "a", **same), asked(21, "b", **same), asked(22, score=1.0, **same)]
    found, left = rows_of(offered)
    assert found["how?"] == "b"
    assert left == {"the same text again": 2}


def test_a_label_that_hardly_occurs_is_no_class() -> None:
    found, left = rows_of([*many("a", 0), asked(30, "typo"), asked(31, "typo")])
    assert set(found.values()) == {"a"}
    assert left == {"a label with too few rows": 2}


def test_generated_answers_as_corrected_or_approved() -> None:
    liked = asked(1, score=1.0, text_out=" yes", label=None)
    corrected = Joined(asked(2, score=-1.0, text_out=" no").record, (), -1.0, None, " better")
    found = chosen([liked, corrected, asked(3, score=-1.0, text_out=" no")], "text-generation", "captured+feedback", set(), Counter())
    assert sorted(row.text for row in found.rows) == ["text 1 yes", "text 2 better"]


new_rows = st.lists(
    st.builds(NewRow, st.uuids().map(str), st.text(min_size=1, max_size=8), st.sampled_from("abc"), st.just("label"), st.just(0.0)),
    max_size=60,
)


@given(new_rows, st.floats(0.05, 0.9))
def test_no_text_is_in_both_parts_and_every_label_trains(rows: list[NewRow], holdout: float) -> None:
    unique = {row.text.casefold(): row for row in rows}
    trains, tests = parted(unique.values(), holdout)
    assert Counter(trains) + Counter(tests) == Counter(unique.values())
    assert not {row.text.casefold() for row in trains} & {row.text.casefold() for row in tests}
    for label, count in Gathered(tuple(unique.values())).labels.items():
        assert sum(row.label == label for row in trains) >= min(count, 2)
    assert parted(reversed(list(unique.values())), holdout) == (trains, tests)


def test_a_subject_is_marked_once_and_left_out(bench: Any) -> None:
    world = bench.world()
    first = mark(world, "s20", principal="ann", reason="asked for it")
    assert mark(world, "s20", principal="bob").id == first.id
    assert marked(world.store) == {"s20"}
    assert [(e.action, e.subject) for e in bench.store.audit.all()] == [("erasure.mark", "s20")]
