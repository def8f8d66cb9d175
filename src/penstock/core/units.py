"""Quantities as people write them: `30m`, `1.5h`, `5%`, `512MiB`, `20 USD`."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NUMBER = r"\s*([0-9]+(?:\.[0-9]+)?)\s*"


def seconds(value: str | int | float) -> float:
    """`90`, `"90s"`, `"1.5h"` → seconds. Raises ValueError with the units that are known."""
    if isinstance(value, (int, float)):
        return float(value)
    match = re.fullmatch(_NUMBER + r"(ms|s|m|h|d|w)\s*", value)
    if not match:
        raise ValueError(f"{value!r} is not a duration; write a number and one of {', '.join(_SECONDS)}, such as 30m")
    return float(match[1]) * _SECONDS[match[2]]


def size_bytes(value: str | int) -> int:
    """`1024`, `"512MiB"`, `"2 GB"` → bytes."""
    if isinstance(value, int):
        return value
    match = re.fullmatch(_NUMBER + r"([KMGT]?i?B)?\s*", value)
    if not match or (match[2] or "") not in _BYTES:
        raise ValueError(f"{value!r} is not a size; write a number and one of {', '.join(u for u in _BYTES if u)}, such as 512MiB")
    return int(float(match[1]) * _BYTES[match[2] or ""])


def fraction(value: str | int | float) -> float:
    """`"5%"` → 0.05; a bare number is taken as it is."""
    if isinstance(value, (int, float)):
        return float(value)
    match = re.fullmatch(_NUMBER + "(%?)", value)
    if not match:
        raise ValueError(f"{value!r} is not a fraction; write 0.05 or 5%")
    return float(match[1]) / (100.0 if match[2] else 1.0)


def usd(value: str | int | float) -> float:
    """`20`, `"20USD"`, `"0.50 USD"` → US dollars."""
    if isinstance(value, (int, float)):
        return float(value)
    match = re.fullmatch(_NUMBER + r"(USD)?\s*", value)
    if not match:
        raise ValueError(f"{value!r} is not an amount of money; write 20 or 20USD")
    return float(match[1])


def show_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
