"""Token buckets by their theoretical arrival time (GCRA, ITU-T I.371): one number of state, no timer.

A bucket of `per_minute` units holds one minute's worth (at least one unit) and refills steadily. `tat` is the moment at which it is full
again, in seconds of a clock that never goes back; a bucket never used has tat 0. Amounts are units: requests or tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """`unit_s`: seconds until one unit is back. `depth_s`: seconds from empty to full."""

    limit: float  # units a minute
    unit_s: float
    depth_s: float

    @classmethod
    def per_minute(cls, limit: float) -> Bucket:
        """A limit of 0 or less lets nothing through."""
        if limit <= 0:
            return cls(0.0, MINUTE_S, 0.0)
        unit = MINUTE_S / limit
        return cls(limit, unit, max(MINUTE_S, unit))

    @property
    def burst(self) -> float:
        """Units that a full bucket gives at once."""
        return self.depth_s / self.unit_s

    def taken(self, tat: float, now: float, units: float) -> float:
        """The tat after `units` left the bucket; whether they may is `wait_s`."""
        return (tat if tat > now else now) + units * self.unit_s

    def wait_s(self, taken: float, now: float) -> float:
        """Seconds until what led to `taken` would have fitted; 0 or less: it fits now."""
        wait = taken - now - self.depth_s
        return wait if wait > 1e-12 * taken else 0.0  # the rest is rounding of the clock's large numbers

    def remaining(self, tat: float, now: float) -> int:
        """Whole units that could leave now."""
        left = (self.depth_s - (tat - now if tat > now else 0.0)) / self.unit_s + 1e-6
        return int(left) if left > 0 else 0
