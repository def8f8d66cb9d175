"""What reconcilers look at and act through: the store, the platforms, the clock, and who is acting."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.core.clock import Clock, SystemClock
from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, Jobs

if TYPE_CHECKING:
    from penstock.platforms.batches import Batches
    from penstock.store.store import Store

LEASE_S = 15.0


@dataclass(slots=True)
class World:
    """Ports are made when first asked for and kept; `close` lets go of idle workers but leaves replicas serving."""

    store: Store
    home: Home
    owner: str
    clock: Clock = field(default_factory=SystemClock)
    _jobs: dict[str, Jobs] = field(default_factory=dict)
    _endpoints: dict[str, Endpoints] = field(default_factory=dict)
    _configs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def jobs(self, name: str, config: Mapping[str, Any]) -> Jobs:
        key = self._key(name, config)
        if key not in self._jobs:
            self._jobs[key] = self._ports(config).jobs(self.home, self.store.artifacts, config)
        return self._jobs[key]

    def endpoints(self, name: str, config: Mapping[str, Any]) -> Endpoints:
        key = self._key(name, config)
        if key not in self._endpoints:
            self._endpoints[key] = self._ports(config).endpoints(self.home, self.store.artifacts, config)
        return self._endpoints[key]

    def batches(self, name: str, config: Mapping[str, Any]) -> Batches:  # noqa: ARG002 (as the ports above)
        """The service of the platform's vendor. Raises PlatformLacks."""
        found: Batches = self._ports(config).batches(self.home, self.store.artifacts, config)
        return found

    def close(self) -> None:
        for jobs in self._jobs.values():
            jobs.close()
        self._jobs.clear()

    def _key(self, name: str, config: Mapping[str, Any]) -> str:
        """The name, but for a second place that another file means by it."""
        known = self._configs.setdefault(name, dict(config))
        return name if known == config else f"{name} {json.dumps(config, sort_keys=True)}"

    @staticmethod
    def _ports(config: Mapping[str, Any]) -> Any:
        from penstock.platforms.table import PLATFORMS

        return PLATFORMS.load(config.get("kind", "local"))


def principal() -> str:
    """Who asks, for the audit log: the user of the operating system."""
    try:
        return f"user {getpass.getuser()}"
    except (OSError, KeyError):
        return "user unknown"


def open_world(home: Home) -> World:
    from penstock.store.owners import this_owner
    from penstock.store.store import Store

    return World(Store.open(home), home, this_owner())
