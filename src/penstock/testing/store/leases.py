"""How a suite lets time pass: by the manual clock, and really where the database's own clock decides."""

from __future__ import annotations

import time

from penstock.core.clock import ManualClock
from penstock.store.store import Store


class LeaseTime:
    """Mixed into suites whose subject has leases. The store's clock must be a ManualClock."""

    def lease_s(self, store: Store) -> float:
        return 0.8 if store.database.dialect == "postgresql" else 30.0

    def outlive(self, store: Store, lease_s: float) -> None:
        """Moves time past a lease taken now."""
        if store.database.dialect == "postgresql":
            time.sleep(lease_s + 0.05)
        store.clock.sleep(lease_s + 0.05)

    def jump(self, store: Store, by_s: float) -> None:
        """Sets the wall clock, as an administrator or a time server does."""
        assert isinstance(store.clock, ManualClock)
        store.clock.jump(by_s)
