"""Local replicas: adopted by any control process, refused when their bundle is damaged, replaced ever more slowly when they crash."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import BadInput
from penstock.core.home import Home
from penstock.platforms.contract import EndpointSpec, ReplicaState
from penstock.platforms.local.capabilities import capabilities
from penstock.platforms.local.endpoints import SLOWEST_S, STEADY_S, Crashes, LocalEndpoints
from penstock.platforms.local.metrics import replica_use
from penstock.platforms.local.prices import price
from penstock.platforms.local.process import birth
from penstock.platforms.table import PLATFORMS
from penstock.store.artifacts import Artifacts
from penstock.store.objects import blob_name
from penstock.testing.endpoints_suite import adapted, adapter, bundle, desired, settled
from penstock.testing.jobs_suite import until
from penstock.testing.serving import ECHO


def opened(place: Path, **settings: object) -> tuple[LocalEndpoints, Home, Artifacts]:
    home = Home.find(place, {})
    artifacts = Artifacts(home.artifacts_url, home.cache)
    return LocalEndpoints(home, artifacts, {"drain_s": 3.0, "replica": {"engine_class": ECHO}, **settings}), home, artifacts


def pid_of(home: Home, replica: ReplicaState) -> int:
    return json.loads((home.replicas / "intents" / replica.id / "pid.json").read_bytes())["pid"]


def test_replica_answers_at_its_address(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path)
    (replica,) = settled(endpoints, desired(("7", bundle(artifacts, tmp_path, "one"), 1)))
    told = json.loads(urllib.request.urlopen(f"http://{replica.address}/healthz", timeout=10).read())
    assert (told["status"], told["model"], told["version"], told["id"]) == ("ok", "intents", "7", replica.id)
    (use,) = replica_use(home.replicas, "intents")
    assert use.cpu_s > 0
    assert use.memory_bytes > 1 << 20
    endpoints.delete("intents")
    host, _, port = replica.address.partition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


def test_replica_outlives_its_starter_and_is_adopted(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path)
    one = bundle(artifacts, tmp_path, "one")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from pathlib import Path\nfrom test_local_endpoints import opened\n"
        f"from penstock.testing.endpoints_suite import desired, settled\n"
        f"print(settled(opened(Path({str(tmp_path)!r}))[0], desired(('1', {one!r}, 1)))[0].id)"
    )
    started = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert [r.id for r in settled(endpoints, desired(("1", one, 1)))] == [started]
    pid = pid_of(home, endpoints.observe("intents").replicas[0])
    endpoints.delete("intents")
    assert birth(pid) is None


def test_replica_whose_number_was_never_written_is_found(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path)
    spec = desired(("1", bundle(artifacts, tmp_path, "one"), 1))
    (replica,) = settled(endpoints, spec)
    (home.replicas / "intents" / replica.id / "pid.json").unlink()  # its starter was killed just before writing it
    assert [r.id for r in settled(endpoints, spec)] == [replica.id]
    endpoints.delete("intents")


def test_concurrent_applies_start_no_replica_twice(tmp_path: Path) -> None:
    _, home, artifacts = opened(tmp_path)
    spec = desired(("1", bundle(artifacts, tmp_path, "one"), 2))
    threads = [threading.Thread(target=lambda: opened(tmp_path)[0].apply(spec)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    endpoints = opened(tmp_path)[0]
    assert len(endpoints.observe("intents").replicas) == 2
    assert len(list((home.replicas / "intents").glob("replica-*"))) == 2
    endpoints.delete("intents")


def test_corrupt_bundle_is_refused_while_the_sound_version_serves(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path)
    one, two = bundle(artifacts, tmp_path, "one"), bundle(artifacts, tmp_path, "two")
    (sound,) = settled(endpoints, desired(("1", one, 1)))
    for path in (home.folder / "artifacts").rglob("*"):
        if path.is_file() and b'"two"' in path.read_bytes():
            path.chmod(0o644)
            path.write_bytes(b'{"name": "bad"}')
    spec = desired(("1", one, 1), ("2", two, 1))
    endpoints.apply(spec)
    by_version = {r.version: r for r in endpoints.observe("intents").replicas}
    assert by_version["1"].id == sound.id
    assert by_version["1"].phase == "ready"
    assert by_version["2"].phase == "failed"
    assert "corrupt" in by_version["2"].error
    endpoints.delete("intents")


def test_replica_that_cannot_load_is_failed_with_its_words_and_tried_slowly(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path)
    spec = EndpointSpec("intents", desired(("1", bundle(artifacts, tmp_path, "one"), 1)).versions, {"fail": "load"})

    def failed() -> ReplicaState | None:
        endpoints.apply(spec)
        found = endpoints.observe("intents").replicas
        return found[0] if found and found[0].phase == "failed" else None

    told = until(failed)
    assert "was told to fail" in told.error
    assert str(home.replicas / "intents" / told.id / "log") in told.error
    tries = {told.id}
    for _ in range(20):
        endpoints.apply(spec)
        tries |= {r.id for r in endpoints.observe("intents").replicas}
    assert len(tries) <= 2
    endpoints.delete("intents")


def test_stubborn_replica_is_killed_after_drain(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path, drain_s=0.3)
    (replica,) = settled(endpoints, desired(("1", bundle(artifacts, tmp_path, "one"), 1)))
    pid = pid_of(home, replica)
    os.kill(pid, signal.SIGSTOP)  # it cannot react to SIGTERM
    endpoints.apply(desired())
    assert [r.phase for r in endpoints.observe("intents").replicas] == ["draining"]
    until(lambda: endpoints.apply(desired()) or birth(pid) is None, 10)
    assert endpoints.observe("intents").replicas == ()
    endpoints.delete("intents")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".lock"])
def test_name_that_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be the name"):
        opened(tmp_path)[0].apply(EndpointSpec(name, ()))


@given(st.lists(st.tuples(st.floats(0, 1000), st.booleans()), min_size=1, max_size=40))
def test_pauses_between_starts_grow_and_are_bounded(ends: list[tuple[float, bool]]) -> None:
    crashes, now = Crashes(), 1000.0
    for lived_s, refused in ends:
        before = crashes
        crashes = crashes.after(lived_s, refused, now)
        pause = crashes.next_at - now
        assert 0 <= pause <= SLOWEST_S
        if lived_s >= STEADY_S and not refused:
            assert pause == 0
        elif before.count >= 1 and lived_s < STEADY_S:
            assert pause >= 1


def test_the_platform_is_found_by_kind_and_says_what_it_lacks(tmp_path: Path) -> None:
    home = Home.find(tmp_path, {})
    local = PLATFORMS.load("local")
    jobs = local.jobs(home, Artifacts(home.artifacts_url, home.cache), {"kind": "local", "workers": 3})
    jobs.close()
    machine = capabilities()
    assert machine.cpus >= 1
    assert all(machine.lacks.values())
    assert not machine.has & set(machine.lacks)
    assert price().usd_per_h == 0
    with pytest.raises(BadInput, match="did you mean 'local'"):
        PLATFORMS.load("locl")


def test_an_adapter_that_is_damaged_harms_no_replica_and_is_tried_again(tmp_path: Path) -> None:
    endpoints, home, artifacts = opened(tmp_path)
    one, legal = bundle(artifacts, tmp_path, "one"), adapter(artifacts, tmp_path, "legal")
    (entry,) = artifacts.manifest(legal).files
    blob = Path(home.artifacts_url.removeprefix("file://")) / blob_name(entry.digest)
    sound = blob.read_bytes()
    blob.unlink()
    spec = adapted(one, {"legal": legal})

    def ready() -> list[ReplicaState] | None:
        endpoints.apply(spec)
        found = [r for r in endpoints.observe("intents").replicas if r.phase == "ready"]
        return found if len(found) == 2 and all(r.adapter_errors for r in found) else None

    before = until(ready, 30.0)
    assert all("is missing" in r.adapter_errors["legal"] and r.adapters == {} for r in before)
    blob.write_bytes(sound)
    after = settled(endpoints, spec)
    assert [r.id for r in after] == [r.id for r in before]
    assert all(not r.adapter_errors for r in endpoints.observe("intents").replicas)
    endpoints.delete("intents")
