"""The checks by name, and the way to open one with a guard's settings."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.plugins import Row, Table
from penstock.screening.contract import Check

CHECKS = Table(
    "check",
    {
        "personal_data": Row("penstock.screening.personal:PersonalData"),
        "injection": Row("penstock.screening.injection:Injection"),
        "toxicity": Row("penstock.screening.toxicity:Toxicity"),
        "words": Row("penstock.screening.words:Words"),
    },
)


def open_check(name: str, *, threshold: float | None = None, types: Sequence[str] = (), words: Sequence[str] = ()) -> Check:
    """The check `name`; `types` are for personal_data, `words` for words, `threshold` for the others. Raises BadInput."""
    kind = CHECKS.load(name)
    made: Check
    if name == "personal_data":
        made = kind(types)
    elif name == "words":
        made = kind(words)
    else:
        made = kind() if threshold is None else kind(threshold)
    return made
