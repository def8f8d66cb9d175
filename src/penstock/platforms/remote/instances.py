"""Which containers answer behind one version at a vendor's endpoint, and which adapters all of them hold.

A vendor tells how many instances there are, not which: each is asked for its health through the endpoint until as many names are known,
and what it holds stands in its note in the artifact store (adapters.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.platforms.remote.adapters import AdapterWishes

KEPT_S = 30.0  # for which one that answered counts as there
TRIES = 4  # questions for each instance in one pass: which one answers is chance


@dataclass(frozen=True, slots=True)
class Holding:
    """`adapters`: name → digest of those that every instance holds; `errors`: name → why one does not."""

    adapters: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Instances:
    """`ask`: the name of whichever instance of (endpoint, variant) answers; None where none does now."""

    ask: Callable[[str, str], str | None]
    wishes: AdapterWishes
    clock: Callable[[], float] = time.monotonic
    _seen: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def holding(self, model: str, endpoint: str, variant: str, count: int) -> Holding:
        """Of a variant with so many instances. Nothing until all of them were heard."""
        names = self._names(endpoint, variant, count)
        if len(names) < count:
            return Holding()
        held = [self.wishes.held(model, name) for name in names]
        first = dict(held[0].loaded)
        common = {name: digest for name, digest in first.items() if all(one.loaded.get(name) == digest for one in held)}
        return Holding(common, {name: why for one in held for name, (_, why) in one.errors.items()})

    def _names(self, endpoint: str, variant: str, count: int) -> list[str]:
        now, seen = self.clock(), self._seen.setdefault((endpoint, variant), {})
        fresh: set[str] = set()
        for _ in range(TRIES * count):
            if len(fresh) >= count:
                break
            name = self.ask(endpoint, variant)
            if name is None:
                break
            fresh.add(name)
            seen[name] = now
        self._seen[endpoint, variant] = {name: at for name, at in seen.items() if now - at < KEPT_S}
        return sorted(self._seen[endpoint, variant])
