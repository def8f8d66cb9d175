"""Measuring what advice needs: running replicas are watched for some seconds, and settings tried on the bundle where that is asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from penstock.control.delivery import opened_world
from penstock.control.deployments import get_deployment
from penstock.control.policy import deploy_of
from penstock.control.scaling.advice import Facts, ReplicaFacts, Tried, advise
from penstock.control.scaling.trial import candidates, try_settings
from penstock.control.split import leading, split_of
from penstock.control.world import World
from penstock.core.cpus import cores
from penstock.core.errors import ArtifactCorrupt, ArtifactMissing, ReplicaFailed
from penstock.engines.bundle_file import read_bundle
from penstock.serving.load import read_load
from penstock.store.resources import Resource

SETTINGS = {
    "openvino-encoder": "penstock.engines.openvino_encoder:EncoderSettings",
    "openvino-decoder": "penstock.engines.openvino_decoder:DecoderSettings",
}
DAY_S = 86_400.0
COUNTED = ("requests", "batches", "batch_items")
NOTED = ("waiting", "memory_bytes")


def advice_for(name: str, *, watch_s: float, measure_s: float | None, tell: Callable[[str], None]) -> dict[str, Any]:
    """Advice for a deployment, and the facts it rests on. `measure_s`: seconds for each setting that is tried on its bundle; None: none is.

    Raises NotFound, ReplicaFailed when its engine cannot even be tried as it is.
    """
    with opened_world() as world:
        row = get_deployment(world, name)
        settings, tried = _settings(world, row), list[Tried]()
        if measure_s is not None:
            tried = _try(world, row, settings, measure_s, tell)
        facts = _facts(world, row, settings, watch_s, tried)
    found = advise(facts)
    told = {"cores": facts.cores, "free_bytes": facts.free_bytes, "settings": dict(settings), "cold_start_s": facts.cold_start_s}
    replicas = [dataclasses.asdict(replica) for replica in facts.replicas]
    return {
        "name": name,
        "advice": [dataclasses.asdict(advice) for advice in found],
        "facts": {**told, "watched_s": watch_s, "waiting": facts.waiting, "cold_starts_a_day": facts.starts, "replicas": replicas},
        "tried": [{**dataclasses.asdict(one), "settings": dict(one.settings)} for one in tried],
    }


def _settings(world: World, row: Resource) -> dict[str, Any]:
    """The engine's settings, its defaults filled in where the engine is one of ours."""
    given = deploy_of(row.spec).engine
    try:
        engine = read_bundle(world.store.artifacts.materialize(_bundle(row))).engine
    except (ArtifactMissing, ArtifactCorrupt):
        return dict(given)
    module, _, name = SETTINGS.get(engine, "").partition(":")
    fields = dataclasses.fields(getattr(importlib.import_module(module), name)) if module else ()
    return {**{field.name: field.default for field in fields}, **given}


def _bundle(row: Resource) -> str:
    first = leading(split_of(row.spec))
    assert first is not None
    return first.bundle


def _try(world: World, row: Resource, settings: Mapping[str, Any], seconds: float, tell: Callable[[str], None]) -> list[Tried]:
    bundle, found = world.store.artifacts.materialize(_bundle(row)), []
    at_once = deploy_of(row.spec).scale.target_concurrency
    for number, one in enumerate(candidates(settings, cores())):
        asked = {**deploy_of(row.spec).engine, **one}
        try:
            tried = try_settings(bundle, asked, seconds=seconds, at_once=at_once)
        except ReplicaFailed as error:
            if number == 0:
                raise
            tell(f"{_words(one)}: {error}")
            continue
        found.append(dataclasses.replace(tried, settings=one))
        tell(f"{_words(one)}: {tried.requests_s:.1f} requests/s, p95 {tried.p95_ms:.0f} ms, {tried.cores:.1f} cores")
    return found


def _facts(world: World, row: Resource, settings: Mapping[str, Any], watch_s: float, tried: list[Tried]) -> Facts:
    import psutil

    ready = [replica for replica in row.status.get("replicas", ()) if replica["phase"] == "ready" and replica["address"]]
    processes = _processes(world, row)
    before, began = {r["id"]: _scrape(r["address"]) for r in ready}, time.monotonic()
    spent = {ident: _cpu_s(process) for ident, process in processes.items()}
    world.clock.sleep(watch_s if ready else 0.0)
    passed, replicas = max(time.monotonic() - began, 1e-6), []
    for replica in ready:
        first, then = before[replica["id"]], _scrape(replica["address"])
        process = processes.get(replica["id"])
        used = None if process is None else max(0.0, _cpu_s(process) - spent[replica["id"]]) / passed
        ran = {name: then.get(name, 0.0) - first.get(name, 0.0) for name in COUNTED}
        batch = ran["batch_items"] / ran["batches"] if ran["batches"] > 0 else None
        waiting = (first.get("waiting", 0.0) + then.get("waiting", 0.0)) / 2
        facts = ReplicaFacts(replica["id"], int(then.get("memory_bytes", 0)), used, ran["requests"] / passed, batch, waiting)
        replicas.append(facts)
    load, now = read_load(world.home.gateway).get(row.name), world.clock.now()
    events = world.store.events.latest("deployment", row.id, limit=10_000)
    started = [e for e in events if e.type == "deployment.scaled" and e.at > now - DAY_S and e.data and e.data["from"] == 0]
    cold = (row.status.get("scaling") or {}).get("cold_start_s") or max((r.get("cold_start_s") or 0.0 for r in ready), default=0.0)
    return Facts(
        cores=cores(),
        free_bytes=int(psutil.virtual_memory().available),
        settings=settings,
        scale=deploy_of(row.spec).scale,
        replicas=replicas,
        waiting=0.0 if load is None else float(load.waiting + load.held),
        cold_start_s=float(cold),
        starts=float(len(started)),
        tried=tried,
    )


def _processes(world: World, row: Resource) -> dict[str, Any]:
    """Replica → its process, where replicas are processes of this machine."""
    import psutil

    from penstock.platforms.local.replicas import read_replicas

    found = {}
    for replica in read_replicas(world.home.replicas / row.name):
        with contextlib.suppress(psutil.NoSuchProcess):
            if replica.alive:
                found[replica.id] = psutil.Process(replica.pid)
    return found


def _cpu_s(process: Any) -> float:
    import psutil

    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _scrape(address: str) -> dict[str, float]:
    """The replica's engine counters and its memory by plain name; empty when it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, value = line.partition(" ")
        plain = name.removeprefix("penstock_replica_").removeprefix("engine_")
        if plain in (*COUNTED, *NOTED):
            found[plain] = float(value)
    return found


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "as it is"
