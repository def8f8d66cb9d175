"""What is on this machine of an endpoint that a vendor hosts: bridges to it, notes of it, and which adapters its instances hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.platforms.contract import EndpointState, ReplicaState, VersionSpec
from penstock.platforms.remote import noted
from penstock.platforms.remote.adapters import AdapterWishes
from penstock.platforms.remote.bridges import Bridges
from penstock.platforms.remote.instances import Instances
from penstock.platforms.remote.noted import Held, Noted

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

READY_S = 1800.0  # a vendor may take a quarter of an hour for the first machine of an endpoint
LOOK_S, SOON_S = 0.5, 1.0
Wanted = tuple[str, str, int, str]
Asking = Callable[[str, str], str | None]
Naming = Callable[[str, str], str]


class Hosted:
    """`bridges`: to the place of that name. `named`: what the vendor knows a (version, bundle) as; `ask`: see Instances."""

    def __init__(self, home: Home, artifacts: Artifacts, place: str, bridges: Bridges, named: Naming, ask: Asking) -> None:
        self.bridges, self.named = bridges, named
        self._folder = home.folder / "hosted" / place
        self._wishes = AdapterWishes(artifacts)
        self._instances = Instances(ask, self._wishes)

    def place(self, name: str) -> Path:
        return self._folder / name

    def notes(self, name: str) -> dict[str, Noted]:
        return noted.read_all(self.place(name))

    def crossed(self, name: str) -> set[str]:
        """Versions that a bridge leads to, as the vendor knows them."""
        return {self.named(row.version, row.bundle) for row in self.bridges.observe(name) if row.phase != "failed"}

    def state(self, name: str, wanted: Iterable[Wanted], held: Iterable[Held]) -> EndpointState:
        """Bridges, and in the place of each that cannot be yet a replica that starts, or that failed with the vendor's reason.

        `wanted`: (version, bundle, replicas, why they failed) rows.
        """
        rows = list(self.bridges.observe(name))
        for version, bundle, count, reason in wanted:
            there = sum((row.version, row.bundle) == (version, bundle) and row.phase != "draining" for row in rows)
            rows += [self._absent(version, bundle, number, reason) for number in range(there, count)]
        for version, bundle, adapters, errors in held:
            mine = [(row.version, row.bundle) == (version, bundle) for row in rows]
            rows = [replace(row, adapters=adapters, adapter_errors=errors) if m else row for row, m in zip(rows, mine, strict=True)]
        return EndpointState(name, tuple(rows), ready_s=READY_S, soon_s=SOON_S)

    def state_by_notes(self, name: str) -> EndpointState:
        """The state where each note tells of all that it is about."""
        notes = self.notes(name).values()
        wanted = [(*row, known.reason) for known in notes for row in known.wanted]
        return self.state(name, wanted, [row for known in notes for row in known.held])

    def want_adapters(self, name: str, version: VersionSpec) -> None:
        self._wishes.want(name, version.version, version.bundle, version.adapters)

    def held(self, name: str, version: VersionSpec, endpoint: str, count: int) -> Held:
        """Of a version that so many instances serve at the vendor's `endpoint`."""
        holding = self._instances.holding(name, endpoint, self.named(version.version, version.bundle), count)
        return version.version, version.bundle, dict(holding.adapters), dict(holding.errors)

    def _absent(self, version: str, bundle: str, number: int, reason: str) -> ReplicaState:
        id_ = f"{self.named(version, bundle)}-{number}"
        return ReplicaState(id_, version, bundle, "failed" if reason else "starting", None, reason or None)


def had(held: Iterable[Held], version: VersionSpec) -> bool:
    """Whether it had adapters, by what is noted of it."""
    return any(adapters and (known, bundle) == (version.version, version.bundle) for known, bundle, adapters, _ in held)
