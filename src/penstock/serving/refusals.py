"""What a client reads of its limits: `x-ratelimit-…` lines as OpenAI names them, and the refusals (429) that say when to come back."""

from __future__ import annotations

import math

from penstock.serving.buckets import Bucket
from penstock.serving.errors import RequestRefused

_FINAL = b"x-should-retry: false\r\n"  # official clients would ask again at once, twice, for nothing


def template(name: bytes, limit: float) -> tuple[bytes, bytes]:
    """Header lines of one bucket, `name` being `requests` or `tokens`, for what `standing` fills in: with milliseconds, and with more."""
    lines = b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: " % (name, limit, name, name)
    return lines + b"%dms\r\n", lines + b"%b\r\n"


def standing(lines: tuple[bytes, bytes], bucket: Bucket, tat: float, now: float) -> bytes:
    """`lines`: the template of the bucket."""
    full_in_s = tat - now if tat > now else 0.0
    if full_in_s < 1:
        return lines[0] % (bucket.remaining(tat, now), math.ceil(full_in_s * 1000))
    return lines[1] % (bucket.remaining(tat, now), duration(full_in_s))


def duration(seconds: float) -> bytes:
    """As OpenAI writes a second or more: `1s`, `6m0s`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    return b"%dm%ds" % (minutes, rest) if minutes else b"%ds" % rest


def too_fast(name: str, bucket: Bucket, units: int, wait_s: float, lines: bytes) -> RequestRefused:
    """`units` of `name` do not fit now, but will in `wait_s`."""
    asked = f"this request asks for {units}; " if name == "tokens" else ""
    message = f"The limit of this key is {bucket.limit:g} {name} a minute; {asked}try again in {wait_s:.1f} s"
    return RequestRefused(429, message, "rate_limit_exceeded", headers=lines + _after(wait_s))


def too_large(bucket: Bucket, units: int, lines: bytes) -> RequestRefused:
    message = f"This request asks for {units} tokens, more than this key's limit of {bucket.limit:g} a minute ever holds; ask for fewer"
    return RequestRefused(429, message, "rate_limit_exceeded", "max_tokens", lines + _FINAL)


def too_many(concurrency: int) -> RequestRefused:
    message = f"This key may have {concurrency} requests in flight at once; wait until one has ended"
    return RequestRefused(429, message, "rate_limit_exceeded", headers=_after(1.0))


def spent(words: str, wait_s: float | None) -> RequestRefused:
    """`wait_s`: until a new budget; None: never by itself."""
    when = b"" if wait_s is None else b"retry-after: %d\r\n" % math.ceil(wait_s)
    return RequestRefused(429, words, "insufficient_quota", headers=when + _FINAL)


def held(words: str) -> RequestRefused:
    """The rest of the budget may come back when requests in flight cost less than they could have."""
    return RequestRefused(429, words, "insufficient_quota", headers=_after(1.0))


def unreadable(problem: str) -> RequestRefused:
    message = (
        f"What this key has spent cannot be read, so its budget is closed ({problem}); the operator finds the way out under `penstock keys`"
    )
    return RequestRefused(503, message, "spend_unreadable", headers=b"retry-after: 60\r\n" + _FINAL)


def _after(wait_s: float) -> bytes:
    return b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (max(1, math.ceil(wait_s)), max(1, math.ceil(wait_s * 1000)))
