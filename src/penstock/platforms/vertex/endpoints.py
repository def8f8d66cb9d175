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
from typing import TYPE_CHECKING, Any

from penstock.core.errors import PenstockError, PlatformAway, UpstreamRefused
from penstock.platforms.contract import EndpointSpec, EndpointState, VersionSpec
from penstock.platforms.places import place_of
from penstock.platforms.remote import noted
from penstock.platforms.remote.bridges import Bridges, Crossing
from penstock.platforms.remote.hosted import LOOK_S, Hosted, had
from penstock.platforms.remote.machines import Need, choose
from penstock.platforms.remote.noted import Held, Noted
from penstock.platforms.remote.sights import Pace, Sights
from penstock.platforms.vertex.addresses import Address
from penstock.platforms.vertex.google import Google, fresh
from penstock.platforms.vertex.hosting import HEALTH, Hosting, Seen, shares
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
REMOVE_S, ASK_S = 30.0, 10.0


@dataclass(slots=True)
class VertexEndpoints:
    home: Home
    artifacts: Artifacts
    settings: Settings
    google: Google
    clock: Callable[[], float] = time.time
    pace: Pace = field(default_factory=Pace)
    _hosting: Hosting = field(init=False)
    _sights: Sights[Seen] = field(init=False)
    _here: Hosted = field(init=False)
    _asked: dict[str, float] = field(default_factory=dict)  # when each operation under way was asked for last
    _addresses: dict[str, str] = field(default_factory=dict)
    _credentials: Any = None

    def __post_init__(self) -> None:
        need = SMALLEST if self.settings.machine is None else Need(machine=self.settings.machine)
        self._hosting = Hosting(self.google, self.artifacts.url, choose(HOSTING, need, "Vertex AI"))
        self._sights = Sights(self._hosting.rows, self._hosting.look, lambda seen: seen, whole=True, pace=self.pace)
        place = place_of({"kind": "vertex", "project": self.settings.project, "region": self.settings.region})
        bridges = Bridges(self.home, place, ENGINE, self.settings.drain_s)
        self._here = Hosted(self.home, self.artifacts, place, bridges, slot_name, self._answering)

    def apply(self, desired: EndpointSpec) -> None:
        """Raises PlatformDenied, PlatformFull, PlatformAway, BadInput; what Vertex AI finds out later shows as a failed replica."""
        endpoint = endpoint_name(desired.name, self.artifacts.url)
        wanted = {slot_name(v.version, v.bundle): v for v in desired.versions if v.replicas > 0}
        folder = self._here.place(desired.name)
        known = noted.read(folder, WHOLE)
        try:
            seen = self._sights.see(endpoint, known)
        except PenstockError:  # bridges are replaced all the same
            if (last := self._sights.last(endpoint)) is not None:
                self._here.bridges.apply(desired.name, self._crossings(endpoint, wanted, last))
            raise
        self._here.bridges.apply(desired.name, self._crossings(endpoint, wanted, seen))
        crossed, before = self._here.crossed(desired.name), known or Noted()
        rows = tuple((v.version, v.bundle, v.replicas) for v in desired.versions)
        held = self._held(endpoint, desired, seen, before)
        swept = before.swept and before.wanted == rows
        if seen is None and wanted:
            with self._sights.changing(endpoint):
                self._hosting.create(endpoint, desired.name)
        elif seen is not None:
            done = [self._bring(desired, endpoint, slot, version, seen) for slot, version in wanted.items()]
            done += [self._shift(endpoint, wanted, seen), self._let_go(endpoint, set(seen.fleets) - set(wanted) - crossed, seen)]
            if all(done) and set(seen.fleets) == set(wanted) and not swept:
                swept = self._hosting.sweep(endpoint, {fleet.model for fleet in seen.fleets.values()})
            if not wanted and not seen.fleets:
                self._sights.touched(endpoint)
                if self._hosting.remove(endpoint):
                    self._hosting.sweep(endpoint, set())
        if seen is None and not wanted:
            shutil.rmtree(folder, ignore_errors=True)
        elif (after := replace(before, wanted=rows, held=held, swept=swept)) != before:
            noted.write(folder, WHOLE, after)

    def observe(self, name: str) -> EndpointState:
        notes = self._here.notes(name)
        known = notes.get(WHOLE, Noted())
        return self._here.state(name, [(*row, notes.get(slot_name(*row[:2]), Noted()).reason) for row in known.wanted], known.held)

    def delete(self, name: str, within_s: float | None = None) -> None:
        """Idempotent. Raises PlatformAway when Vertex AI has not let go of everything after REMOVE_S, or `within_s`: ask again."""
        endpoint = endpoint_name(name, self.artifacts.url)
        deadline = time.monotonic() + (REMOVE_S if within_s is None else within_s)
        self._here.bridges.delete(name)
        while not self._emptied(endpoint):
            if time.monotonic() > deadline:
                raise PlatformAway(f"endpoint {endpoint} still has models that come or go; Vertex AI deletes it only after that")
            time.sleep(LOOK_S)
        self._hosting.sweep(endpoint, set())
        if self.settings.metrics:
            CloudMonitoring(self.google, self.artifacts.url).remove(name)
        shutil.rmtree(self._here.place(name), ignore_errors=True)

    def _emptied(self, endpoint: str) -> bool:
        """One step towards nothing."""
        seen = self._hosting.look(endpoint)
        if seen is None:
            return True
        self._let_go(endpoint, set(seen.fleets), seen)
        return not seen.fleets and self._hosting.remove(endpoint)

    def _bring(self, desired: EndpointSpec, endpoint: str, slot: str, version: VersionSpec, seen: Seen) -> bool:
        """One step of one version; True when it is as it should be."""
        folder, now = self._here.place(desired.name), self.clock()
        before = noted.read(folder, slot) or Noted()
        after, fleet, counts = self._heard(before), seen.fleets.get(slot), self._hosting.counts(version)
        if before.operation and not (after.operation or after.reason):
            self._sights.touched(endpoint)  # it came about: what was seen is older
        elif fleet is not None and (fleet.least, fleet.most) == counts:
            after = replace(after, tries=0, reason="", operation="")
        elif not after.operation and after.due(slot, now):
            tries = after.tries + 1
            model = self._hosting.upload(endpoint, desired, version) if fleet is None else ""
            with self._sights.changing(endpoint):
                if fleet is None:
                    operation = self._hosting.deploy(endpoint, version, model, seen)
                else:
                    operation = self._hosting.scale(endpoint, fleet, counts)
            after = replace(after, config=slot, tries=tries, at=now, operation=operation)
        if after != before:
            noted.write(folder, slot, after)
        return fleet is not None and (fleet.least, fleet.most) == counts

    def _heard(self, known: Noted) -> Noted:
        """What became of the operation under way: asked for ever more seldom."""
        now = self.clock()
        pause = min(self.pace.slowest_s, max(self.pace.list_s, (now - known.at) / 4))
        if not known.operation or 0 <= now - self._asked.get(known.operation, 0.0) < pause:
            return known
        self._asked[known.operation] = now
        over, reason = self._hosting.outcome(known.operation)
        if not over:
            return known
        del self._asked[known.operation]
        return replace(known, operation="", reason=reason)

    def _shift(self, endpoint: str, wanted: Mapping[str, VersionSpec], seen: Seen) -> bool:
        """The endpoint's own split, over what is wanted and there."""
        weights = {slot: float(v.replicas) if v.weight is None else v.weight for slot, v in wanted.items() if slot in seen.fleets}
        split = {slot: share for slot, share in shares(weights).items() if share}
        if not split or split == {slot: share for slot, share in seen.split.items() if share}:
            return True
        with self._sights.changing(endpoint):
            self._hosting.split(endpoint, split, seen)
        return False

    def _let_go(self, endpoint: str, leaving: set[str], seen: Seen) -> bool:
        """A step towards an endpoint without these; True when there are none. One with traffic goes once that was moved, or as the last."""
        if leaving:
            self._sights.touched(endpoint)
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
        found: list[Held] = []
        for version in desired.versions:
            self._here.want_adapters(desired.name, version)
            fleet = seen.fleets.get(slot_name(version.version, version.bundle)) if seen is not None else None
            if seen is not None and fleet is not None and (version.adapters or had(before.held, version)):
                self._addresses[endpoint] = seen.address
                found.append(self._here.held(desired.name, version, endpoint, max(1, fleet.up)))
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
