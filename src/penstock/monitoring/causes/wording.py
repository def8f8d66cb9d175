"""Causes in words, one line each."""

from __future__ import annotations

from penstock.monitoring.causes.attribution import Cause, Explanation
from penstock.monitoring.causes.composition import Shift
from penstock.monitoring.causes.outcomes import Kpi

NEARLY_ALL = 0.95


def cause_line(cause: Cause, kpi: Kpi, limit: float | None) -> str:
    """`replica r3: 41 % failed (was 1.2 %), elsewhere 0.9 % (was 1.1 %): all of the change`."""
    where = " and ".join(f"{kind} {name}" for kind, name in cause.where)
    inside, outside = _now_and_was(cause.inside, kpi), _now_and_was(cause.outside, kpi)
    what = kpi.what if limit is None else f"{kpi.what} {limit:.4g} ms"
    share = "all of the change" if cause.share >= NEARLY_ALL else f"{cause.share * 100:.0f} % of the change"
    if cause.kind == "mix":
        moved = f"{_percent(cause.traffic[1])} of requests (was {_percent(cause.traffic[0])})"
        levels = [amount(mean or 0.0, kpi) for mean in (cause.inside[0], cause.outside[0])]
        line = f"{where}: {moved}, of which {levels[0]} {what} before, elsewhere {levels[1]}"
    else:
        fresh = ", new" if cause.kind == "new" else ""
        line = f"{where}{fresh}: {inside[0]} {what}{inside[1]}, elsewhere {outside[0]}{outside[1]}"
    same = ", ".join(f"{kind} {name}" for kind, name in cause.same_as)
    return f"{line}: {share}" + (f" (the same requests: {same})" if same else "")


def shift_line(shift: Shift) -> str:
    """`language de: 31 % of requests, was 4 %`."""
    return f"{shift.kind} {shift.value}: {_percent(shift.during)} of requests, was {_percent(shift.before)}"


def note(found: Explanation, kpi: Kpi) -> str:
    """What is said where no cause is."""
    if min(found.count) == 0:
        return "there are no requests to compare"
    if not found.changed:
        return f"{kpi.signal} did not change beyond chance (p {found.p:.2g})"
    return "" if found.causes else "the change is alike everywhere: no part of the traffic stands out"


def amount(value: float, kpi: Kpi) -> str:
    return _percent(value) if kpi.share else f"{value:.4g}"


def _now_and_was(means: tuple[float | None, float], kpi: Kpi) -> tuple[str, str]:
    return amount(means[1], kpi), "" if means[0] is None else f" (was {amount(means[0], kpi)})"


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.0995 else f"{share * 100:.0f} %"
