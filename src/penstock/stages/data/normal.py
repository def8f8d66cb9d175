"""Normal form of a text, and the keys by which rows are told apart.

Two texts are the same row when their normal forms agree after case folding; that key is used by dedup, decontamination and
the split alike, whatever rules are declared. Plain Python on purpose: most rows are printable ASCII, which two string
methods settle several times faster than a vectorised regular expression does.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

KEY_BYTES = 12
CONTENT_BYTES = 10

# Control characters but white space; and format characters without a shape of their own: soft hyphen, zero-width space, marks
# of direction, joiner of words, byte-order mark. The two joiners U+200C and U+200D stay: they carry meaning in Persian, Indic
# scripts and emoji; so do tags and the visible Arabic signs of the same category.
_UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_SPACES = re.compile(r"[^\S\n]+")


def one_line(text: str) -> str:
    """NFC, unseen characters out, white space runs to one space, ends stripped. Idempotent."""
    if text.isascii() and text.isprintable():
        return text if "  " not in text and text[:1] != " " and text[-1:] != " " else " ".join(text.split())
    return " ".join(unicodedata.normalize("NFC", _UNSEEN.sub("", text)).split())


def many_lines(text: str) -> str:
    """The same for documents: lines are kept, white space runs become one space within a line, none is left at its end."""
    plain = unicodedata.normalize("NFC", _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return _SPACES.sub(" ", plain).replace(" \n", "\n")


def key(text: str) -> bytes:
    """96-bit key of a text: blake2b of its normal form, case folded."""
    return key_of_normal(one_line(text))


def key_of_normal(text: str) -> bytes:
    """The key of a text that `one_line` returned."""
    return blake2b(text.casefold().encode(), digest_size=KEY_BYTES).digest()


def content(text: str, label: str | None) -> bytes:
    """80-bit key of a row as it stands: text and label."""
    return blake2b(f"{text}\0{label or ''}".encode(), digest_size=CONTENT_BYTES).digest()
