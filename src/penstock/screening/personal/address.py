"""Street addresses as far as form tells: a number beside a name with a street word, flats, post boxes. English and some European forms.

Not covered: places without a street word, addresses that need a gazetteer.
"""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, Span, anchored

_NAME = r"[^\W\d_a-z][\w'’.-]{0,24}"
_ENGLISH = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Parkway|Pkwy|Highway|Hwy"
    r"|Close|Crescent|Cres|Circle|Cir|Trail|Alley)"
)
_ROMANCE = r"(?:Via|Viale|Piazza|Corso|Rua|Travessa|Rue|Avenue|Boulevard|Calle|Avenida|Plaza|Paseo|Carrer|Praça|Strada|Ulica|Ul\.)"
_STREET = re.compile("V[il]|Pi|Cor|Rua|Tra|Rue|Ave|Bou|Cal|Pla|Pas|Car|Pra|Str|Ul")
_LAST = "e.gztnaiuj"  # letters with which the endings below end
_ENDING = (
    r"(?:straße|strasse|str\.|gasse|weg|platz|allee|ring|gatan|gata|vägen|väg|vegen|veien|vei|vej|gade|stræde"
    r"|katu|tie|kuja|polku|straat|laan|plein|dijk|utca|ulica)"
)
_FLAT = r"(?:Apt|Apartment|Suite|Ste|Unit)\b\.? #?[0-9]{1,5}\b"
_BEGIN = r"(?<![\w.,-])"
_number_first = anchored(
    re.compile(
        rf"{_BEGIN}[0-9]{{1,5}}(?:[A-Za-z]? (?:[NSEW]\.? )?(?:{_NAME} ){{1,4}}{_ENGLISH}\b(?:\.?,? {_FLAT})?"
        rf"|,? {_ROMANCE} [\w'’.-]{{1,24}}(?: [\w'’.-]{{1,24}}){{0,4}}(?!\w))"
    ),
    re.compile(r"[0-9]{1,5}[A-Za-z]?,? [^\W\d_a-z]"),
)
_street_first = anchored(
    re.compile(rf"\b{_ROMANCE} (?:[^\W\d][\w'’.-]{{0,24}} ){{1,5}}[0-9]{{1,4}}\b"), re.compile(r"[A-Z][a-z]{1,8}\.? [^\W\d]")
)
_labelled = anchored(
    re.compile(rf"\b{_FLAT}|\bP\.? ?O\.? Box [0-9]{{1,6}}\b|\b(?:PSC|Unit) [0-9]{{1,5}},? Box [0-9]{{1,5}}\b"),
    re.compile("Ap|Su|Ste|Uni|P"),
)
_HOUSE = re.compile(r" [0-9]{1,4}[a-z]?\b")
_COMPOUND = re.compile(rf"\b[^\W\d_a-z]\w{{2,20}}{_ENDING}\Z")


def _find(text: str) -> list[Span]:
    found = [*_number_first(text), *_labelled(text)]
    if _STREET.search(text) is not None:
        found += _street_first(text)
    for house in _HOUSE.finditer(text):
        if text[house.start() - 1] in _LAST and (street := _COMPOUND.search(text, max(0, house.start() - 28), house.start())):
            found.append((street.start(), house.end()))
    return sorted(found)


_MORE = r"(?:[\w'’.#-]{1,24},? ){0,5}[\w'’.#-]{0,24},?"
_NAMES = rf"(?:{_NAME},? ){{0,5}}[\w'’.#-]{{0,24}},?"

KIND = Kind(
    "address",
    DIGIT,
    _find,
    (
        re.compile(rf"[0-9]{{1,5}}[A-Za-z]?,? {_NAMES}(?: #?[0-9]{{0,5}})?\Z"),
        re.compile(rf"[0-9]{{1,5}},? {_ROMANCE} {_MORE}\Z"),
    ),
    (
        re.compile(rf"{_ROMANCE} {_MORE}\Z"),
        re.compile(rf"[A-ZÀ-Þ]\w{{2,20}}{_ENDING} [0-9]{{0,4}}[a-z]?\Z"),
        re.compile(r"(?:Apt|Apartment|Suite|Ste|P\.? ?O\.?|PSC|Unit)\.? ?[\w,# ]{0,20}\Z"),
    ),
)
