"""The conformance suite of endpoints that a vendor hosts: a request's way there and back, and what the vendor does beside.

`class TestMyHosting(HostedConformance)`, in a module with the fixtures `cloud` (the emulator), `place` (home and artifacts) and `endpoints`
(of the two, with replicas of the echo engine, a short drain and a short patience).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.control.leaving import delete
from penstock.core.errors import PlatformAway
from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, EndpointSpec, ReplicaState, VersionSpec
from penstock.platforms.remote.sights import Pace
from penstock.platforms.table import PlatformParts
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.faults import Limit
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.jobs_suite import until
from penstock.testing.serving import gateway_to
from penstock.testing.together import Together

NAME = "intents"


def spec(*versions: VersionSpec, **settings: Any) -> EndpointSpec:
    return EndpointSpec(NAME, versions, settings)


def brought(endpoints: Endpoints, wish: EndpointSpec, there: Callable[[], Any]) -> Any:
    """Applies the wish until something is `there`: that."""

    def look() -> Any:
        with contextlib.suppress(PlatformAway):  # the next pass asks again
            endpoints.apply(wish)
        return there()

    return until(look)


def failed(endpoints: Endpoints, wish: EndpointSpec) -> ReplicaState:
    """The first replica that could not be, once there is one."""

    found: list[ReplicaState] = brought(endpoints, wish, lambda: [r for r in endpoints.observe(NAME).replicas if r.phase == "failed"])
    return found[0]


def stop_clock(endpoints: Any, ahead_s: float = 0.0) -> None:
    """What failed is tried again by its clock: not before that goes on, however busy the machine is."""
    now = endpoints.clock() + ahead_s
    endpoints.clock = lambda: now


class HostedConformance:
    """`machine`: type of the instances. `lags`: the operation by which an endpoint is seen, `creates`: those by which one is made and
    scaled, as the emulator's faults name them; what follows are words that must be in what the platform says.
    """

    platform: PlatformParts
    machine: str
    lags: str
    creates: tuple[str, ...]
    crashed_says: str
    full_says: str
    internal_says: str
    denied_says: str
    left: Collection[str]  # kinds of what an endpoint of one version is made of
    looks: Collection[str]  # calls by which one endpoint is looked at
    limited: tuple[str, float]  # calls of which a vendor takes few, "" all, and how many a second

    @pytest.fixture
    def bundles(self, place: tuple[Home, Artifacts], tmp_path: Path) -> tuple[str, str]:
        return bundle(place[1], tmp_path, "one"), bundle(place[1], tmp_path, "two")

    def state(self, cloud: Any) -> Any:
        """What the emulator keeps: faults, things, limits, processes."""
        raise NotImplementedError

    def split(self, cloud: Any) -> list[tuple[int, int]]:
        """Percent of the endpoint's own traffic and wanted instances of each version, sorted."""
        raise NotImplementedError

    def one_of_each(self, cloud: Any) -> None:
        """Asserts that nothing was made twice."""
        raise NotImplementedError

    def delete_behind(self, cloud: Any, endpoints: Any) -> None:
        """Somebody else takes the endpoint away."""
        raise NotImplementedError

    def deny(self, cloud: Any) -> None:
        """Nobody may ask the endpoint."""
        raise NotImplementedError

    def test_a_request_goes_there_and_back(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str], tmp_path: Path) -> None:
        wish = spec(VersionSpec("1", bundles[0], 1, weight=0.95), VersionSpec("2", bundles[1], 1, weight=0.05))
        ready = settled(endpoints, wish)
        stage, gateway = gateway_to(tmp_path, NAME, ready)
        with stage:
            answer = gateway.ask(model=NAME, prompt="a b c", max_tokens=3)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["text"].split() == ["a", "b", "c"]
            assert answer.json()["usage"]["completion_tokens"] == 3
            for version in ("1", "2"):
                assert gateway.ask({"x-penstock-version": version}, model=NAME).headers["x-penstock-version"] == version
            events, whole = gateway.stream(model=NAME, max_tokens=20)
            assert whole
            assert events.count(b"data: ") >= 20
            wrong = gateway.ask(model=NAME, promt="a")
            assert (wrong.status_code, "promt" in wrong.text) == (400, True), "the replica's own refusal comes through"
            assert gateway.records(4)[0]["model"] == NAME
        brought(endpoints, wish, lambda: self.split(cloud) == [(5, 1), (95, 1)])

    def test_shares_and_counts_change_in_place(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        one, two = bundles
        settled(endpoints, spec(VersionSpec("1", one, 1, weight=0.95), VersionSpec("2", two, 1, weight=0.05)))
        wish = spec(VersionSpec("1", one, 1, weight=0.25), VersionSpec("2", two, 2, weight=0.75))
        settled(endpoints, wish)
        brought(endpoints, wish, lambda: self.split(cloud) == [(25, 1), (75, 2)])
        wish = spec(VersionSpec("2", two, 1, weight=1.0))
        settled(endpoints, wish)
        brought(endpoints, wish, lambda: self.split(cloud) == [(100, 1)])

    def test_a_version_that_cannot_start_leaves_the_old_one_alone(self, cloud: Any, endpoints: Any, bundles: tuple[str, str]) -> None:
        stop_clock(endpoints)
        (old,) = settled(endpoints, spec(VersionSpec("1", bundles[0], 1)))
        wish = spec(VersionSpec("1", bundles[0], 1), VersionSpec("2", "sha256:" + "9" * 64, 1))
        broken = failed(endpoints, wish)
        assert broken.version == "2"
        assert self.crashed_says in str(broken.error)
        assert [r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"] == [old.id]
        brought(endpoints, wish, lambda: self.split(cloud) == [(100, 1)])
        made = self.state(cloud).processes.made
        tried = made.copy()
        for _ in range(5):
            endpoints.apply(wish)
        assert made == tried, "not tried again at once"
        stop_clock(endpoints, 60.0)
        brought(endpoints, wish, lambda: len(made) > len(tried))

    def test_no_machine_is_free_and_then_one_is(self, cloud: Any, endpoints: Any, bundles: tuple[str, str]) -> None:
        self.state(cloud).dry.add(self.machine)
        wish = spec(VersionSpec("1", bundles[0], 1))
        assert self.full_says in str(failed(endpoints, wish).error)
        self.state(cloud).dry.clear()
        stop_clock(endpoints, 60.0)
        assert len(settled(endpoints, wish)) == 1
        assert endpoints.observe(NAME).replicas[0].error is None

    def test_faults_between_the_calls_leave_one_of_each(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        faults, wish = self.state(cloud).faults, spec(VersionSpec("1", bundles[0], 1))
        for operation in self.creates:
            faults.plan("lose_answer", operation)
            faults.plan("throttle", operation)
        settled(endpoints, wish)
        settled(endpoints, spec(VersionSpec("1", bundles[0], 2)))
        self.one_of_each(cloud)
        faults.plan("internal", times=1000)
        with pytest.raises(Exception, match=self.internal_says):
            endpoints.apply(wish)
        faults.planned.clear()
        assert len(settled(endpoints, wish)) == 1

    def test_an_answer_that_lags_behind_takes_nothing_away(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        wish = spec(VersionSpec("1", bundles[0], 1))
        (before,) = settled(endpoints, wish)
        brought(endpoints, wish, lambda: self.split(cloud) == [(100, 1)])
        self.state(cloud).faults.plan("unseen", self.lags)
        endpoints.apply(wish)
        assert [(r.id, r.phase) for r in endpoints.observe(NAME).replicas] == [(before.id, "ready")]
        assert self.split(cloud) == [(100, 1)]

    def test_what_is_deleted_behind_our_back_comes_back(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        wish = spec(VersionSpec("1", bundles[0], 1))
        (before,) = settled(endpoints, wish)
        self.delete_behind(cloud, endpoints)
        brought(endpoints, wish, lambda: before.id not in {r.id for r in endpoints.observe(NAME).replicas if r.phase == "ready"})
        assert len(settled(endpoints, wish)) == 1

    def test_nothing_is_left(self, cloud: Any, endpoints: Endpoints, place: tuple[Home, Artifacts], bundles: tuple[str, str]) -> None:
        """Not even of one that goes while it is being made."""
        wish = spec(VersionSpec("1", bundles[0], 1))

        def left() -> list[str]:
            return [row.rpartition(" ")[0] for row in self.platform.left(*place, cloud.section())]

        def deleted() -> bool:
            try:
                endpoints.delete(NAME)
            except PlatformAway:  # it is still being made
                return False
            return True

        brought(endpoints, wish, lambda: left() == list(self.left))
        until(deleted)
        until(lambda: not left())
        assert not endpoints.observe(NAME).replicas
        until(lambda: not self.state(cloud).processes.left())

    @pytest.fixture
    def together(self, cloud: Any) -> Iterator[None]:
        """Instances of one process, for one test."""
        state = self.state(cloud)
        each = state.processes
        each.close()
        state.processes = Together(each.folder, platform=each.platform)
        yield
        state.processes.close()
        state.processes = each

    def brought_up(self, endpoints: Any, count: int) -> list[EndpointSpec]:
        """So many endpoints, each with one version, as the reconciler brings them up: one pass after another over all."""
        specs = [EndpointSpec(f"fleet-{n}", (VersionSpec("1", "sha256:" + f"{n:064x}", 1),)) for n in range(count)]

        def all_ready() -> bool:
            for spec in specs:
                with contextlib.suppress(PlatformAway):
                    endpoints.apply(spec)
            return all(any(row.phase == "ready" for row in endpoints.observe(spec.name).replicas) for spec in specs)

        until(all_ready)
        return specs

    @pytest.mark.usefixtures("together")
    def test_endpoints_that_nobody_touches_cost_next_to_nothing(self, cloud: Any, endpoints: Any) -> None:
        """In calls: a minute of passes over eight of them costs what it does over one, but for a look at each."""
        state, sights = self.state(cloud), endpoints._sights
        specs = self.brought_up(endpoints, 8)
        for _ in range(5):  # what is left of an earlier time is looked for once
            for spec in specs:
                endpoints.apply(spec)
        sights.pace, now = Pace(), sights.clock()
        sights.clock = lambda: now
        for spec in specs:
            endpoints.apply(spec)
        state.faults.calls.clear()
        for _ in range(60):
            now += 1.0
            for spec in specs:
                endpoints.apply(spec)
                assert [row.phase for row in endpoints.observe(spec.name).replicas] == ["ready"]
        calls = state.faults.calls
        assert sum(calls.values()) <= 60 / Pace().calm_s + 1 + len(self.looks) * len(specs), calls
        assert all("List" in name or "list" in name or name in self.looks for name in calls), calls
        for spec in specs:
            delete(endpoints, spec.name)

    @pytest.mark.usefixtures("together")
    def test_an_account_that_throttles_gets_no_more_calls_than_it_takes(self, cloud: Any, endpoints: Any) -> None:
        state = self.state(cloud)
        endpoints._sights.pace, (operation, per_s) = Pace(), self.limited
        state.faults.limits[operation] = Limit(per_s, burst=3.0)
        specs = self.brought_up(endpoints, 8)
        assert 0 < state.faults.throttled.total() <= 8 + state.faults.calls.total() / 10
        self.state(cloud).faults.limits.clear()
        for spec in specs:
            delete(endpoints, spec.name)

    def test_who_may_not_ask_is_told(self, cloud: Any, endpoints: Endpoints, bundles: tuple[str, str]) -> None:
        self.deny(cloud)
        said = str(failed(endpoints, spec(VersionSpec("1", bundles[0], 1))).error)
        assert self.denied_says in said
