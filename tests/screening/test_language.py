"""Languages are told as py3langid tells them, many texts at once, and any text has an answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from penstock.screening.language import CUT, UNKNOWN, _bytes, languages

IDENTIFIER = LanguageIdentifier.from_model_file(MODEL_FILE)
SAID = {
    "en": "Everyone has the right to freedom of thought, conscience and religion",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits",
    "es": "Toda persona tiene derecho a la vida, a la libertad y a la seguridad",
    "ru": "Каждый человек имеет право на жизнь, на свободу и на личную неприкосновенность",
    "ja": "すべて人は、生命、自由及び身体の安全に対する権利を有する",
    "ar": "لكل فرد الحق في الحياة والحرية وسلامة شخصه",
}


def test_well_known_languages() -> None:
    assert languages(list(SAID.values())) == list(SAID)


@given(st.lists(st.text(max_size=400), max_size=12))
def test_any_texts_are_told_as_the_model_tells_them(texts: list[str]) -> None:
    found = languages(texts)
    assert len(found) == len(texts)
    for text, code in zip(texts, found, strict=True):
        visits = IDENTIFIER._raw_score(_bytes(text))
        assert code == (UNKNOWN if visits.max() == visits.min() else IDENTIFIER.nb_classes[int(visits.argmax())])


def test_hostile_texts() -> None:
    assert languages([]) == []
    assert languages([""]) == [UNKNOWN]
    assert len(languages(["\ud800", "\0" * 1000, "a" * 1_000_000, "\u202e\ufeff"])) == 4


def test_capitals_and_long_texts() -> None:
    assert languages([SAID["de"].upper(), (SAID["de"] + " ") * 500]) == ["de", "de"]
    assert len(_bytes("ä" * 1000)) <= CUT


@pytest.mark.timeout(60)
def test_accuracy_on_the_declaration_of_human_rights(mirror: Path) -> None:
    codes = {
        "deu": "de",
        "eng": "en",
        "fra": "fr",
        "spa": "es",
        "ita": "it",
        "rus": "ru",
        "ukr": "uk",
        "bul": "bg",
        "fin": "fi",
        "hun": "hu",
    }
    codes |= {
        "tur": "tr",
        "ell_monotonic": "el",
        "heb": "he",
        "hin": "hi",
        "jpn": "ja",
        "kor": "ko",
        "vie": "vi",
        "pol": "pl",
        "ces": "cs",
        "swe": "sv",
    }
    rows = [
        (line.strip(), code)
        for name, code in codes.items()
        for line in (mirror / "udhr_languages" / f"{name}.txt").read_text("utf-8").splitlines()
        if len(line.strip()) >= 20
    ]
    found = languages([text for text, _ in rows])
    assert sum(code == wanted for code, (_, wanted) in zip(found, rows, strict=True)) / len(rows) > 0.985
