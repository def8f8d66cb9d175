"""The conformance suite of Endpoints: `class TestMyEndpoints(EndpointsConformance)` with `open` and `kill`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from penstock.core.errors import PlatformAway
from penstock.core.home import Home
from penstock.platforms.contract import Endpoints, EndpointSpec, ReplicaState, VersionSpec
from penstock.store.artifacts import Artifacts
from penstock.testing.jobs_suite import home_in, until
from penstock.testing.patience import PATIENT_S


class EndpointsConformance:
    """What any Endpoints must do. A subclass says how to open one over a home, and how a replica is killed; `bucket` as for Jobs."""

    bucket: Callable[[], str] | None = None

    def open(self, home: Home, artifacts: Artifacts) -> Endpoints:
        raise NotImplementedError

    def kill(self, endpoints: Endpoints, home: Home, name: str, id_: str) -> None:
        raise NotImplementedError

    def _opened(self, place: Path) -> tuple[Endpoints, Home, str, str]:
        home = home_in(place, self.bucket)
        artifacts = Artifacts(home.artifacts_url, home.cache)
        return self.open(home, artifacts), home, bundle(artifacts, place, "one"), bundle(artifacts, place, "two")

    def test_replicas_become_ready_and_apply_is_idempotent(self, tmp_path: Path) -> None:
        endpoints, _, one, _ = self._opened(tmp_path)
        spec = desired(("1", one, 2))
        ready = settled(endpoints, spec)
        endpoints.apply(spec)
        endpoints.apply(spec)
        assert [r.id for r in endpoints.observe(spec.name).replicas] == [r.id for r in ready]
        assert len({r.address for r in ready}) == 2
        assert all(r.bundle == one and r.version == "1" for r in ready)
        endpoints.delete(spec.name)

    def test_scale_up_and_down(self, tmp_path: Path) -> None:
        endpoints, _, one, _ = self._opened(tmp_path)
        first = settled(endpoints, desired(("1", one, 1)))
        two = settled(endpoints, desired(("1", one, 2)))
        assert first[0].id in {r.id for r in two}
        assert len(settled(endpoints, desired(("1", one, 1)))) == 1
        endpoints.delete("intents")

    def test_another_version_stands_beside_and_then_alone(self, tmp_path: Path) -> None:
        endpoints, _, one, two = self._opened(tmp_path)
        old = settled(endpoints, desired(("1", one, 1)))
        both = settled(endpoints, desired(("1", one, 1), ("2", two, 1)))
        assert old[0].id in {r.id for r in both}
        alone = settled(endpoints, desired(("2", two, 1)))
        assert [(r.version, r.bundle) for r in alone] == [("2", two)]
        endpoints.delete("intents")

    def test_killed_replica_is_replaced(self, tmp_path: Path) -> None:
        endpoints, home, one, _ = self._opened(tmp_path)
        spec = desired(("1", one, 2))
        victim, survivor = settled(endpoints, spec)
        self.kill(endpoints, home, spec.name, victim.id)
        until(lambda: victim.id not in {r.id for r in endpoints.observe(spec.name).replicas if r.phase == "ready"})
        after = {r.id for r in settled(endpoints, spec)}
        assert survivor.id in after
        assert victim.id not in after
        endpoints.delete(spec.name)

    def test_adapters_come_and_go_without_a_restart(self, tmp_path: Path) -> None:
        endpoints, home, one, _ = self._opened(tmp_path)
        artifacts = Artifacts(home.artifacts_url, home.cache)
        legal, poems = (adapter(artifacts, tmp_path, name) for name in ("legal", "poems"))
        before = settled(endpoints, adapted(one, {"legal": legal}))
        assert [r.adapters for r in before] == [{"legal": legal}] * 2
        for wanted in ({"legal": poems, "poems": poems}, {"poems": poems}, {}):
            now = settled(endpoints, adapted(one, wanted))
            assert [(r.id, r.address) for r in now] == [(r.id, r.address) for r in before]
        endpoints.delete("intents")

    def test_delete_removes_all_and_may_be_repeated(self, tmp_path: Path) -> None:
        endpoints, _, one, _ = self._opened(tmp_path)
        settled(endpoints, desired(("1", one, 1)))
        endpoints.delete("intents")
        endpoints.delete("intents")
        assert endpoints.observe("intents").replicas == ()

    def test_nothing_is_known_of_an_unknown_endpoint(self, tmp_path: Path) -> None:
        endpoints, _, _, _ = self._opened(tmp_path)
        assert endpoints.observe("nobody").replicas == ()


def kill_process(home: Home, name: str, id_: str) -> None:
    """Of a replica, or of a bridge, on this machine."""
    files = [*home.folder.glob("bridge-hosts/*/held.json"), home.replicas / name / id_ / "pid.json"]
    pid = next(value["pid"] for value in map(_json, files) if id_ in value.get("replicas", (id_,)))
    os.kill(pid, signal.SIGKILL)


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


def bundle(artifacts: Artifacts, place: Path, name: str) -> str:
    """Digest of a small artifact that stands for a bundle."""
    folder = place / f"bundle-{name}"
    folder.mkdir()
    (folder / "bundle.json").write_text(f'{{"name": "{name}"}}')
    digest = artifacts.commit(folder, "bundle", {}).digest
    shutil.rmtree(folder)
    return digest


def adapter(artifacts: Artifacts, place: Path, name: str) -> str:
    """Digest of a small artifact that stands for an adapter."""
    folder = place / f"adapter-{name}"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(f'{{"name": "{name}"}}')
    return artifacts.commit(folder, "adapter", {}).digest


def adapted(bundle: str, adapters: Mapping[str, str]) -> EndpointSpec:
    return EndpointSpec("intents", (VersionSpec("1", bundle, 2, adapters=adapters),))


def desired(*versions: tuple[str, str, int]) -> EndpointSpec:
    return EndpointSpec("intents", tuple(VersionSpec(*version) for version in versions))


def settled(endpoints: Endpoints, spec: EndpointSpec, within_s: float = PATIENT_S) -> list[ReplicaState]:
    """Applies until exactly the wanted replicas are there and ready, with the wanted adapters."""

    def look() -> list[ReplicaState] | None:
        with contextlib.suppress(PlatformAway):  # the next pass asks again
            endpoints.apply(spec)
        replicas = list(endpoints.observe(spec.name).replicas)
        wanted = sum(version.replicas for version in spec.versions)
        adapters = {version.version: dict(version.adapters) for version in spec.versions}
        ready = all(r.phase == "ready" and r.adapters == adapters[r.version] for r in replicas if r.version in adapters)
        return replicas if len(replicas) == wanted and ready and all(r.version in adapters for r in replicas) else None

    found: list[ReplicaState] = until(look, within_s)
    return found
