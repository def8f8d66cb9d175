"""Ids that sort by time of birth and never collide: 48 bits of milliseconds, 48 of randomness, base 32."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id(prefix: str, now_s: float | None = None) -> str:
    """`prefix-` and 20 characters, e.g. `run-01jd8…`. Sorts by time to the millisecond."""
    number = (int((time.time() if now_s is None else now_s) * 1000) << 48) | secrets.randbits(48)
    digits = []
    for _ in range(20):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return f"{prefix}-{''.join(reversed(digits))}"
