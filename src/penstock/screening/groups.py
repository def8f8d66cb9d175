"""Which groups of people a text names, by identity terms: for measuring whether texts about some are treated otherwise than about others.

Terms after Dixon et al. 2018 (AIES, "Measuring and Mitigating Unintended Bias in Text Classification"), gathered into groups. A term in a
text says that the text names the group, never that its author belongs to it. English only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "women": ("woman", "women", "female", "females", "girl", "girls"),
    "men": ("man", "men", "male", "males", "boy", "boys"),
    "gay": ("gay", "lesbian", "homosexual", "bisexual", "queer", "lgbt", "lgbtq"),
    "straight": ("straight", "heterosexual"),
    "trans": ("trans", "transgender", "nonbinary"),
    "black": ("black", "african", "african american"),
    "white": ("white", "european", "caucasian"),
    "asian": ("asian", "chinese", "japanese", "korean", "indian"),
    "hispanic": ("hispanic", "latino", "latina", "latinx", "mexican"),
    "middle-eastern": ("middle-eastern", "middle eastern", "arab"),
    "muslim": ("muslim", "muslims", "islamic"),
    "christian": ("christian", "christians", "catholic", "protestant"),
    "jewish": ("jewish", "jew", "jews"),
    "hindu": ("hindu", "sikh", "buddhist", "taoist"),
    "atheist": ("atheist", "atheists"),
    "old": ("old", "older", "elderly", "senior", "seniors"),
    "young": ("young", "younger", "teenage", "teenager", "millennial"),
    "disabled": ("disabled", "blind", "deaf", "paralyzed", "autistic", "wheelchair"),
    "immigrant": ("immigrant", "immigrants", "refugee", "refugees", "foreigner"),
}
_GROUP_OF = {term: group for group, terms in GROUPS.items() for term in terms}
_TERM = re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, _GROUP_OF), key=len, reverse=True)) + r")\b", re.IGNORECASE)


def groups_named(text: str) -> frozenset[str]:
    """Names of the groups."""
    return frozenset(_GROUP_OF[match[0].lower()] for match in _TERM.finditer(text))
