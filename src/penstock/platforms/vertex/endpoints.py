"""Endpoints on Vertex AI: one dedicated endpoint a deployment, a deployed model a version, and bridges by which our gateway reaches each.

The endpoint's own traffic split follows the shares of the versions, for those who call it directly. A deployed model goes only when no
bridge leads to it any more. What a deployed model is made of stays as it is: other settings hold for versions deployed after them.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PlatformAway, UpstreamRefused
from penstock.platforms.contract import EndpointSpec, EndpointState, ReplicaState, VersionSpec
from penstock.platforms.remote import noted
from penstock.platforms.remote.adapters import AdapterWishes
from penstock.platforms.remote.bridges import Bridges, Crossing
from penstock.platforms.remote.instances import Instances
from penstock.platforms.remote.machines import Need, choose
from penstock.platforms.remote.noted import Noted
from penstock.platforms.vertex.google import Google
from penstock.platforms.vertex.hosting import HEALTH, Hosting, Seen, shares
from penstock.platforms.vertex.invoking import Address, fresh
from penstock.platforms.vertex.machines import HOSTING
from penstock.platforms.vertex.metrics import CloudMonitoring
from penstock.platforms.vertex.naming import deployed_id, endpoint_name, slot_name
from penstock.platforms.vertex.settings import Settings

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts

ENGINE = "penstock.platforms.vertex.invoking:opened"
WHOLE = "endpoint"  # the name under which the endpoint itself is noted; a slot begins with `v`
SMALLEST = Need(cpus=4, memory_bytes=8 << 30)
REMOVE_S, LOOK_S, ASK_S = 30.0, 0.5, 10.0
Held = tuple[str, str, Mapping[str, str], Mapping[str, str]]


@dataclass(slots=True)
class VertexEndpoints:
    home: Home
    artifacts: Artifacts
    settings: Settings
    google: Google
    clock: Callable[[], float] = time.time
    _hosting: Hosting = field(init=False)
    _bridges: Bridges = field(init=False)
    _wishes: AdapterWishes = field(init=False)
    _instances: Instances = field(init=False)
    _addresses: dict[str, str] = field(default_factory=dict)
    _credentials: Any = None

    def __post_init__(self) -> None:
        need = SMALLEST if self.settings.machine is None else Need(machine=self.settings.machine)
        self._hosting = Hosting(self.google, self.artifacts.url, choose(HOSTING, need, "Vertex AI"))
        self._wishes = AdapterWishes(self.artifacts)
        self._instances = Instances(self._answering, self._wishes)
        self._bridges = Bridges(self.home, self.artifacts, ENGINE, self.settings.drain_s)

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformDenied, PlatformFull, PlatformAway, BadInput; what Vertex AI finds out later shows as a failed replica."""
        endpoint = endpoint_name(desired.name, self.artifacts.url)
        wanted = {slot_name(v.version, v.bundle): v for v in desired.versions if v.replicas > 0}
        folder = self._folder(desired.name)
        seen = self._look(endpoint, folder)
        self._bridges.apply(desired.name, self._crossings(endpoint, wanted, seen), {})
        crossed = {slot_name(row.version, row.bundle) for row in self._bridges.observe(desired.name) if row.phase != "failed"}
        before = noted.read(folder, WHOLE) or Noted()
        rows = tuple((v.version, v.bundle, v.replicas) for v in desired.versions)
        held = self._held(endpoint, desired, seen, before)
        swept = before.swept and before.wanted == rows
        if seen is None and wanted:
            self._hosting.create(endpoint, desired.name)
        elif seen is not None:
            done = [self._bring(desired, endpoint, slot, version, seen) for slot, version in wanted.items()]
            done += [self._shift(endpoint, wanted, seen), self._let_go(endpoint, set(seen.fleets) - set(wanted) - crossed, seen)]
            if all(done) and set(seen.fleets) == set(wanted) and not swept:
                swept = self._hosting.sweep(endpoint, {fleet.model for fleet in seen.fleets.values()})
            if not wanted and not seen.fleets and self._hosting.remove(endpoint):
                self._hosting.sweep(endpoint, set())
        if seen is None and not wanted:
            shutil.rmtree(folder, ignore_errors=True)
        elif (after := replace(before, wanted=rows, held=held, swept=swept)) != before:
            noted.write(folder, WHOLE, after)

    def observe(self, name: str) -> EndpointState:
        """Bridges, and in the place of each that cannot be yet a replica that starts, or that failed with Vertex AI's reason."""
        rows, notes = list(self._bridges.observe(name)), noted.read_all(self._folder(name))
        known = notes.get(WHOLE, Noted())
        for version, bundle, count in known.wanted:
            there = sum((row.version, row.bundle) == (version, bundle) and row.phase != "draining" for row in rows)
            reason = notes.get(slot_name(version, bundle), Noted()).reason
            rows += [_absent(version, bundle, number, reason) for number in range(there, count)]
        for version, bundle, adapters, errors in known.held:
            mine = [(row.version, row.bundle) == (version, bundle) for row in rows]
            rows = [replace(row, adapters=adapters, adapter_errors=errors) if m else row for row, m in zip(rows, mine, strict=True)]
        return EndpointState(name, tuple(rows))

    def delete(self, name: str) -> None:
        """Idempotent. Raises PlatformAway when Vertex AI has not let go of everything after REMOVE_S: ask again."""
        endpoint, deadline = endpoint_name(name, self.artifacts.url), time.monotonic() + REMOVE_S
        self._bridges.delete(name)
        while not self._emptied(endpoint):
            if time.monotonic() > deadline:
                raise PlatformAway(f"endpoint {endpoint} still has models that come or go; Vertex AI deletes it only after that")
            time.sleep(LOOK_S)
        self._hosting.sweep(endpoint, set())
        if self.settings.metrics:
            CloudMonitoring(self.google, self.artifacts.url).remove(name)
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def _emptied(self, endpoint: str) -> bool:
        """One step towards nothing."""
        seen = self._hosting.look(endpoint)
        if seen is None:
            return True
        self._let_go(endpoint, set(seen.fleets), seen)
        return not seen.fleets and self._hosting.remove(endpoint)

    def _look(self, endpoint: str, folder: Path) -> Seen | None:
        """One that was there is looked for twice before it counts as gone: an answer may come from a copy that lags behind."""
        seen = self._hosting.look(endpoint)
        if seen is None and noted.read(folder, WHOLE) is not None:
            time.sleep(LOOK_S)
            seen = self._hosting.look(endpoint)
        return seen

    def _bring(self, desired: EndpointSpec, endpoint: str, slot: str, version: VersionSpec, seen: Seen) -> bool:
        """One step of one version; True when it is as it should be."""
        folder, now = self._folder(desired.name), self.clock()
        before = noted.read(folder, slot) or Noted()
        after, fleet, counts = self._heard(before), seen.fleets.get(slot), self._hosting.counts(version)
        if fleet is not None and (fleet.least, fleet.most) == counts:
            after = replace(after, tries=0, reason="", operation="")
        elif not after.operation and after.due(slot, now):
            tries = after.tries + 1
            if fleet is None:
                model = self._hosting.upload(endpoint, desired, version)
                operation = self._hosting.deploy(endpoint, version, model, seen)
            else:
                operation = self._hosting.scale(endpoint, fleet, counts)
            after = replace(after, config=slot, tries=tries, at=now, operation=operation)
        if after != before:
            noted.write(folder, slot, after)
        return fleet is not None and (fleet.least, fleet.most) == counts

    def _heard(self, known: Noted) -> Noted:
        """What became of the operation under way."""
        if not known.operation:
            return known
        over, reason = self._hosting.outcome(known.operation)
        return replace(known, operation="", reason=reason) if over else known

    def _shift(self, endpoint: str, wanted: Mapping[str, VersionSpec], seen: Seen) -> bool:
        """The endpoint's own split, over what is wanted and there."""
        weights = {slot: float(v.replicas) if v.weight is None else v.weight for slot, v in wanted.items() if slot in seen.fleets}
        split = {slot: share for slot, share in shares(weights).items() if share}
        if not split or split == {slot: share for slot, share in seen.split.items() if share}:
            return True
        self._hosting.split(endpoint, split, seen)
        return False

    def _let_go(self, endpoint: str, leaving: set[str], seen: Seen) -> bool:
        """A step towards an endpoint without these; True when there are none. One with traffic goes once that was moved, or as the last."""
        idle = sorted(slot for slot in leaving if not seen.split.get(slot))
        last = min(leaving) if leaving == set(seen.fleets) and leaving and not idle else None
        if last is not None and len(leaving) > 1:
            self._hosting.split(endpoint, {last: 100}, seen)
        for slot in [last] if last is not None and len(leaving) == 1 else idle:
            self._hosting.undeploy(endpoint, seen.fleets[slot])
        return not leaving

    def _crossings(self, endpoint: str, wanted: Mapping[str, VersionSpec], seen: Seen | None) -> list[Crossing]:
        """To what serves now: no more bridges than replicas."""
        found = []
        for slot, version in wanted.items():
            fleet = seen.fleets.get(slot) if seen is not None else None
            if seen is not None and fleet is not None and min(version.replicas, fleet.up):
                address = asdict(self._address(endpoint, slot, version.bundle, seen.address))
                found.append(Crossing(version, min(version.replicas, fleet.up), address))
        return found

    def _address(self, endpoint: str, slot: str, bundle: str, host: str) -> Address:
        plain = (self.settings.endpoint_url or "").startswith("http://")
        return Address(host, f"{self.settings.parent}/endpoints/{endpoint}", deployed_id(slot), bundle, plain)

    def _held(self, endpoint: str, desired: EndpointSpec, seen: Seen | None, before: Noted) -> tuple[Held, ...]:
        """Adapters of each version that wants some, or had some. Asks nobody otherwise."""
        had = {(version, bundle) for version, bundle, adapters, _ in before.held if adapters}
        found: list[Held] = []
        for version in desired.versions:
            self._wishes.want(desired.name, version.version, version.bundle, version.adapters)
            slot = slot_name(version.version, version.bundle)
            fleet = seen.fleets.get(slot) if seen is not None else None
            if seen is not None and fleet is not None and (version.adapters or (version.version, version.bundle) in had):
                self._addresses[endpoint] = seen.address
                holding = self._instances.holding(desired.name, endpoint, slot, max(1, fleet.up))
                found.append((version.version, version.bundle, dict(holding.adapters), dict(holding.errors)))
        return tuple(found)

    def _answering(self, endpoint: str, slot: str) -> str | None:
        """The name of whichever replica answers; None where none does now."""
        try:
            if self._credentials is None or not self._credentials.valid:
                self._credentials = fresh(self._credentials)
            url = self._address(endpoint, slot, "", self._addresses[endpoint]).url(HEALTH)
            headers = {"authorization": f"Bearer {self._credentials.token}", "content-type": "application/json"}
            with urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=ASK_S) as answer:
                return str(json.loads(answer.read())["id"])
        except (urllib.error.URLError, UpstreamRefused, OSError):
            return None

    def _folder(self, name: str) -> Path:
        return self.home.folder / "vertex" / name


def _absent(version: str, bundle: str, number: int, reason: str) -> ReplicaState:
    id_ = f"{slot_name(version, bundle)}-{number}"
    return ReplicaState(id_, version, bundle, "failed" if reason else "starting", None, reason or None)
