"""Normal form of a text, and the keys by which rows are told apart.

Two texts are the same row when their normal forms agree after case folding; that key is used by dedup, decontamination and
the split alike, whatever rules are declared.
"""

from __future__ import annotations

from hashlib import blake2b

import polars as pl

KEY_BYTES = 12
CONTROL = r"[\p{Cc}\p{Cf}--[\t\n\r\u{200C}\u{200D}]]"  # the two joiners carry meaning in Persian and Indic scripts


def normalized(text: pl.Expr, keep_lines: bool) -> pl.Expr:
    """NFC, control and format characters out, white space runs to one space (`keep_lines`: within lines only), ends stripped."""
    plain = text.str.normalize("NFC").str.replace_all(CONTROL, "")
    if not keep_lines:
        return plain.str.replace_all(r"\s+", " ").str.strip_chars()
    return plain.str.replace_all(r"\r\n?", "\n").str.replace_all(r"[^\S\n]+", " ").str.replace_all(r" ?\n", "\n")


def key(normal: str) -> bytes:
    """96-bit key of a normal form; blake2b of its case folding."""
    return blake2b(normal.casefold().encode(), digest_size=KEY_BYTES).digest()


def content(text: str, label: str | None) -> bytes:
    """80-bit key of a row as it stands: text and label."""
    return blake2b(f"{text}\0{'' if label is None else label}".encode(), digest_size=10).digest()


def keys(texts: pl.Series) -> pl.Series:
    """Key of each text, `keep_lines` or not: white space is folded for the key in any case."""
    normal = texts.to_frame("text").select(normalized(pl.col("text"), False))["text"]
    return pl.Series("key", [key(text) for text in normal], dtype=pl.Binary)
