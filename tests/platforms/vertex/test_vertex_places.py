"""One deployment in two regions at once, as while it goes from one to the other: neither takes the other's bridges, notes or endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.home import Home
from penstock.platforms.contract import VersionSpec
from penstock.platforms.remote.sights import EAGER
from penstock.platforms.vertex.endpoints import VertexEndpoints
from penstock.platforms.vertex.platform import VERTEX
from penstock.store.artifacts import Artifacts
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex.endpoints import KIND
from penstock.testing.endpoints_suite import bundle, settled
from penstock.testing.hosted_suite import NAME, spec
from penstock.testing.serving import ECHO
from penstock.testing.wrong_jobs_suite import QUICK

OTHER = "europe-west1"


@pytest.fixture
def other(cloud: VertexAI, tmp_path: Path) -> Iterator[VertexAI]:
    """The same project in another region; its machines read the same buckets."""
    made = VertexAI(tmp_path / "other")
    made.here.region, made.here.identities = OTHER, cloud.here.identities
    made.here.environment.update(cloud.environment)
    with made:
        yield made


def endpoints_in(cloud: VertexAI, place: tuple[Home, Artifacts], **more: str) -> VertexEndpoints:
    made = VERTEX.endpoints(*place, cloud.section(drain_s=5.0, replica={"engine_class": ECHO}, **more))
    made.google.patience, made.pace, made._sights.pace = QUICK, EAGER, EAGER
    return made


def test_a_deployment_is_in_two_regions_and_leaves_one(
    cloud: VertexAI, other: VertexAI, place: tuple[Home, Artifacts], tmp_path: Path
) -> None:
    here, there = endpoints_in(cloud, place), endpoints_in(other, place, region=OTHER)
    wish = spec(VersionSpec("1", bundle(place[1], tmp_path, "one"), 1))
    try:
        first, second = settled(here, wish), settled(there, wish)
        assert {one.id for one in first} & {one.id for one in second} == set()
        assert {one.address for one in first} & {one.address for one in second} == set()
        here.delete(NAME)
        there.apply(wish)
        assert [one.id for one in there.observe(NAME).replicas] == [one.id for one in second]
        assert not here.observe(NAME).replicas
        assert not cloud.here.of(KIND)
        (endpoint,) = other.here.of(KIND).values()
        assert endpoint.row.name.startswith(f"projects/penstock-emulated/locations/{OTHER}/")
        assert VERTEX.left(*place, other.section(region=OTHER))
        assert not VERTEX.left(*place, cloud.section())
    finally:
        for one in (here, there):
            one._here.bridges.delete(NAME)
