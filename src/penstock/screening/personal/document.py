"""Numbers of driving licences, passports and identity cards: letters and digits right after words that say so (English)."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import DIGIT, Kind, matches

_PATTERN = re.compile(
    r"\b(?:(?:driver['’]?s?|driving) licen[cs]e|passport|national id|identity card|id card)(?: number| no\.?)?(?: is|:)? "
    r"((?=[A-Z-]{0,6}[0-9])[A-Z0-9](?:-?[A-Z0-9]){4,18})(?![\w-])",
    re.IGNORECASE,
)

KIND = Kind("document", DIGIT, matches(_PATTERN))
