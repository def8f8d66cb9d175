"""The waiting line against a plain list: who goes, who is shed, that nothing is lost; and what is said about coming back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.admission import LONGEST_RETRY_S, WaitingLine, retry_after_s

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 3), st.sampled_from("ab"), st.booleans()),
        st.tuples(st.just("go"), st.sampled_from("ab")),
        st.tuples(st.just("leave"), st.integers(0, 60)),
    ),
    max_size=80,
)


class Model:
    """The same by looking through a list."""

    def __init__(self, bound: int) -> None:
        self.bound, self.rows = bound, list[tuple[float, int, str]]()  # level, number, group

    def push(self, number: int, group: str, level: float) -> int | None:
        shed = None
        if len(self.rows) >= self.bound:
            least = min(self.rows, key=lambda row: (row[0], -row[1]), default=None)
            if least is None or least[0] >= level:
                return number
            self.rows.remove(least)
            shed = least[1]
        self.rows.append((level, number, group))
        return shed

    def first(self, group: str) -> int | None:
        rows = [row for row in self.rows if row[2] == group]
        return min(rows, key=lambda row: (-row[0], row[1]))[1] if rows else None

    def remove(self, number: int) -> bool:
        left = [row for row in self.rows if row[1] != number]
        found = len(left) < len(self.rows)
        self.rows = left
        return found


@given(st.integers(0, 6), STEPS)
def test_it_does_what_a_plain_list_would(bound: int, steps: list[tuple[object, ...]]) -> None:
    line, model = WaitingLine[int](bound), Model(bound)
    for number, step in enumerate(steps):
        if step[0] == "push":
            _, priority, group, again = step
            assert isinstance(priority, int)
            assert isinstance(again, bool)
            assert line.push(number, str(group), priority, again) == model.push(number, str(group), priority + again / 2)
        elif step[0] == "go":
            first = line.first(str(step[1]))
            assert first == model.first(str(step[1]))
            if first is not None:
                assert line.remove(first)
                model.remove(first)
        else:
            assert isinstance(step[1], int)
            assert line.remove(step[1]) == model.remove(step[1])
        assert len(line) == len(model.rows) <= bound
        assert list(line) == [row[1] for row in sorted(model.rows, key=lambda row: (-row[0], row[1]))]
        assert all(line.count(group) == sum(row[2] == group for row in model.rows) for group in "ab")


@given(st.integers(0, 5000), st.floats(0, 1e4))
def test_the_time_to_come_back_is_that_of_those_who_wait(waiting: int, pace: float) -> None:
    told = retry_after_s(waiting, pace)
    assert 1 <= told <= LONGEST_RETRY_S
    if pace > 0 and told < LONGEST_RETRY_S:
        assert told * pace >= waiting + 1 - 1e-6 * pace
        assert told == 1 or (told - 1) * pace < waiting + 1
