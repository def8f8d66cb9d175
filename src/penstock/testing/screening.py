"""Conformance of checks and of kinds of personal data: subclass, give examples, and every promise of their contracts is checked.

`CheckConformance` for a check of screening/table.py, `KindConformance` for a kind of screening/personal/table.py. `yes` holds texts in
which the part between « and » is to be found, `no` texts in which nothing is.
"""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.screening.contract import HOLD, Check, Finding
from penstock.screening.masking import masked
from penstock.screening.personal import PersonalData
from penstock.serving.guard_findings import Rail, Tally
from penstock.serving.guard_strand import Strand

HOSTILE = (
    *("a", "1", "é", "@", ":", ".", "(", "-", "\u200b", "1 ", "1-", "1.", "1:", "a@", "a.b@c.", "+1 (", "1/", "(1)", "a1", "A1 "),
    *(
        "http://",
        "https://a.b/",
        "GB82 ",
        "bc1q",
        "0x",
        "4111 ",
        "Apt 1 ",
        "Via A ",
        "12 Main ",
        "May ",
        "1 May ",
        "zip 1",
        "aged 1",
        "phone 1",
    ),
    *(
        "ignore previous ",
        "ignore all the ",
        "you are without ",
        "system: ",
        "repeat the ",
        "tokens ",
        "&amp;",
        "you idiot ",
        "\n",
        "x\u0301",
    ),
)


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text without its marks, and the spans that they marked."""
    plain, spans = "", []
    for part in text.split("«"):
        inner, mark, after = part.partition("»")
        if mark:
            spans.append((len(plain), len(plain) + len(inner)))
            plain += inner + after
        else:
            plain += part
    return plain, spans


def streamed(check: Check, text: str, seed: int) -> str:
    """`text` masked as a stream of pieces of random sizes."""
    chance = random.Random(seed)
    rail = Rail("mask", check)
    strand, out, at = Strand([rail], Tally("output", [rail])), "", 0
    while at < len(text):
        step = chance.choice((1, 1, 2, 4, 8, 40))
        out += strand.feed(text[at : at + step])
        at += step
    return out + strand.end()


def well_formed(found: list[Finding], text: str) -> bool:
    edges = [edge for finding in found for edge in (finding.start, finding.end)]
    return edges == sorted(edges) and all(0 <= f.start < f.end <= len(text) and 0 <= f.score <= 1 for f in found)


class CheckConformance:
    """What holds for any check. `exact`: findings are just the marked parts; otherwise any finding will do."""

    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()
    exact = True
    size = 1 << 14  # characters of the shorter of two hostile texts

    def check(self) -> Check:
        raise NotImplementedError("a subclass makes its check")

    def test_finds_what_is_marked(self) -> None:
        check = self.check()
        for text, spans in map(marked, self.yes):
            found = check.find(text)
            assert well_formed(found, text)
            assert [(f.start, f.end) for f in found] == spans if self.exact else found, f"{text!r}: {found}"
            assert {f.check for f in found} == {check.name}

    def test_finds_nothing_elsewhere(self) -> None:
        check = self.check()
        for text in self.no:
            assert check.find(text) == [], text

    def test_takes_any_text(self) -> None:
        check = self.check()

        @given(st.text(max_size=400))
        def holds(text: str) -> None:
            assert well_formed(check.find(text), text)
            assert max(0, len(text) - HOLD) <= check.opening(text) <= len(text)

        holds()

    def test_a_stream_is_masked_like_the_whole(self) -> None:
        check = self.check()
        if check.whole:
            pytest.skip("a property of a whole text is not masked")
        for number, text in enumerate(self.yes):
            for surrounded in (marked(text)[0], f"Well, then. {marked(text)[0]} And so on, it goes."):
                expected = masked(surrounded, check.find(surrounded))
                for seed in range(12):
                    assert streamed(check, surrounded, 100 * number + seed) == expected, surrounded

    @pytest.mark.parametrize("piece", HOSTILE)
    def test_time_grows_linearly(self, piece: str) -> None:
        self.grows_linearly(piece, self.size)

    def grows_linearly(self, piece: str, size: int) -> None:
        """Eight times the text takes at most 24 times as long, and a mebibyte at most about ten seconds on a slow, busy core."""
        check = self.check()
        check.find(piece * (size // len(piece)))
        short, long = (self._fastest(check, piece * (many * size // len(piece))) for many in (1, 8))
        assert long < 24 * max(short, 0.001), f"{short:.4f} s for {size} characters, {long:.4f} s for eight times as many"
        assert long < 10 * 8 * size / (1 << 20)

    def _fastest(self, check: Check, text: str) -> float:
        taken = []
        for _ in range(2):
            start = time.process_time()
            check.find(text)
            taken.append(time.process_time() - start)
        return min(taken)


class KindConformance(CheckConformance):
    """A kind of personal data: `kind` is its name."""

    kind: str
    size = 1 << 13

    def check(self) -> Check:
        return PersonalData((self.kind,))

    def test_is_found_among_all_kinds(self) -> None:
        everything = PersonalData()
        for text, spans in map(marked, self.yes):
            found = {(f.start, f.end): f.kind for f in everything.find(text)}
            assert all(found.get(span) == self.kind for span in spans), f"{text!r}: {found}"

    def test_a_masked_text_stays_as_it_is(self) -> None:
        check = self.check()
        for text, _ in map(marked, self.yes):
            once = masked(text, check.find(text))
            assert masked(once, PersonalData().find(once)) == once
