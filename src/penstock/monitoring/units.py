"""Independent units among requests: one per session, each counted once, in bounded memory.

Traffic is sticky, so what was randomised is the session, not the request: requests of one session are like each other, and counting each
would make a test too sure. So the first outcome of each session counts. Sessions are remembered by digest up to MOST; from then on only
those whose digest falls into a half, a quarter, … of all digests are counted, a sample that nothing but the digest decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST = 8192


@dataclass(slots=True)
class Units:
    """`halvings`: how often the sample was halved."""

    halvings: int = 0
    seen: set[int] = field(default_factory=set)

    def admit(self, session: str) -> bool:
        """True the first time, for sessions of the sample."""
        digest = int.from_bytes(hashlib.blake2b(session.encode(), digest_size=6).digest(), "big")
        if digest % (1 << self.halvings) or digest in self.seen:
            return False
        self.seen.add(digest)
        while len(self.seen) > MOST:
            self.halvings += 1
            self.seen = {one for one in self.seen if one % (1 << self.halvings) == 0}
        return True

    def as_json(self) -> dict[str, Any]:
        return {"halvings": self.halvings, "seen": sorted(self.seen)}

    @staticmethod
    def parse(value: Mapping[str, Any] | None) -> Units:
        return Units(value["halvings"], set(value["seen"])) if value else Units()
