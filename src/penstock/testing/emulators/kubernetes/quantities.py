"""Resource quantities (`500m`, `2Gi`, `1e3`) as numbers."""

from __future__ import annotations

import re

_FORM = re.compile(r"^([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:([eE][+-]?[0-9]+)|(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|u|n))?$")
_SCALES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_SCALES |= {f"{letter}i": 1024.0 ** (power + 1) for power, letter in enumerate("KMGTPE")}


def quantity(value: object) -> float:
    """Raises ValueError."""
    found = _FORM.match(str(value))
    if found is None:
        raise ValueError(f"quantities must match the regular expression {_FORM.pattern!r}: {value!r}")
    return float(found[1] + (found[2] or "")) * _SCALES.get(found[3] or "", 1.0)
