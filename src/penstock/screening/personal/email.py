"""E-mail addresses (RFC 5321 without quoted local parts and address literals)."""

from __future__ import annotations

import re

from penstock.screening.personal.contract import AT, Kind, matches

# Beginning only where a run of local characters begins keeps a megabyte of letters linear.
_PATTERN = re.compile(
    r"(?<![\w.+%-])[\w%+-](?:[\w.+%-]{0,62}[\w%+-])?@(?:[\w-]{1,63}\.){1,8}(?:[^\W\d_]{2,24}|xn--[\w-]{2,59})(?![\w-])",
)

KIND = Kind("email", AT, matches(_PATTERN))
