"""What people do with deployments: deploy a version, go back, ask, look, delete. Used by the commands; each opens and closes the store."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.control.adapters import Rows, check_adapters, keep_adapters, locate_adapters
from penstock.control.asking import own_key, post
from penstock.control.daemon import control_state, ensure_up
from penstock.control.deployments import alone, desired_deployment, get_deployment, lead_of, patience_s, phase_of
from penstock.control.gateway import gateway_state, gateway_url
from penstock.control.rollouts.orders import start_rollout
from penstock.control.show import deployment_row
from penstock.control.split import leading, split_of
from penstock.control.world import World, open_world, principal
from penstock.core.errors import BadInput, GateRefused, NotFound, PenstockError, ReplicaFailed
from penstock.core.home import Home
from penstock.core.ids import new_id

if TYPE_CHECKING:
    from penstock.store.registry import ModelVersion
    from penstock.store.store import Store


@contextlib.contextmanager
def opened_world() -> Iterator[World]:
    """The world of the working directory's home, closed at the end."""
    world = open_world(Home.find())
    try:
        yield world
    finally:
        world.close()
        world.store.close()


def deploy_version(
    name: str,
    model: str,
    version: str,
    *,
    replicas: int | None,
    platform: str | None,
    force: bool,
    now: bool = False,
    adapters: Mapping[str, str | None] | None = None,
) -> dict[str, Any]:
    """Asks for it and waits until it is live; replicas and platform that are not given stay as they are (first: one, on the laptop).

    Where the deployment declares a strategy and serves another version, a rollout begins and is not waited for, unless `now`; the row
    then has `rollout` and `bringing`. `adapters`: where each that changes comes from (adapters.py), None for one that goes; the others
    stay, and must fit the version. Raises GateRefused, NotFound, BadInput, ReplicaFailed.
    """
    with opened_world() as world:
        found = world.store.registry.get(model, _version(version))
        if found.state == "refused" and not force:
            raise GateRefused(
                f"{model}:{found.version} was refused by its gates", remedy="Use --force to serve it all the same; that is audited."
            )
        before = world.store.resources.find("deployment", name)
        present: Mapping[str, Any] = (
            before.spec if before and before.phase != "deleted" else {"replicas": 1, "platform": {"name": "laptop"}}
        )
        to = platform or present["platform"]["name"]
        platforms = platforms_of(world, found, to)
        rows = _adapters(present, found, adapters or {}, world)
        ensure_up(world.home)
        deploy = _asked(present, to, replicas or present["replicas"])
        who = f"{principal()}{' --force' if force else ''}"
        serves = before is not None and before.phase != "deleted" and before.spec["model"] == model and lead_of(before) != found.version
        rolls = serves and not now and deploy.get("strategy") is not None
        resource = desired_deployment(
            world, name, model, found.version, deploy, platforms, principal=who, rollout=rolls, adapters={found.bundle: rows}
        )
        if not rolls:
            return wait_live(world, name, found.version)
        cause = {"command": new_id("order", world.clock.now())}
        made = start_rollout(world, resource, found.version, principal=who, cause=cause)
        return {**deployment_row(resource), "rollout": made.id, "bringing": found.version}


def _asked(present: Mapping[str, Any], to: str, replicas: int) -> dict[str, Any]:
    """The sections that the deployment has now, on platform `to` with at least so many replicas."""
    sections = dict(present.get("deploy", {}))
    scale = {**sections.get("scale", {}), "min": replicas}
    if scale.get("max") is not None:
        scale["max"] = max(replicas, scale["max"])
    return {**sections, "to": to, "scale": scale}


def _adapters(present: Mapping[str, Any], version: ModelVersion, changes: Mapping[str, str | None], world: World) -> Rows:
    """Those that the version has here, else those of the version that serves; with the changes. Raises NotFound, BadInput."""
    known: Mapping[str, Rows] = present.get("adapters", {})
    lead = leading(split_of(present)) if "versions" in present else None
    rows = dict(known.get(version.bundle, known.get(lead.bundle if lead else "", {})))
    for name in [name for name, source in changes.items() if source is None]:
        if rows.pop(name, None) is None:
            raise NotFound(f"no adapter {name!r} is deployed (there are: {', '.join(sorted(rows)) or 'none'})")
    wanted = {name: source for name, source in changes.items() if source is not None}
    rows |= keep_adapters(locate_adapters(wanted, Path.cwd(), world.store), world.store)
    check_adapters(rows, version.bundle, f"{version.model}:{version.version}", world.store)
    return rows


def platforms_of(world: World, version: ModelVersion, wanted: str) -> dict[str, Any]:
    """The platforms of the pipeline file that made the version. Raises BadInput when `wanted` is none of them, nor `laptop`."""
    try:
        known: dict[str, Any] = dict(world.store.resources.get("run", version.run).spec.get("platforms", {}))
    except NotFound:
        known = {}
    if wanted not in known and wanted != "laptop":
        raise BadInput(
            f"no platform is called {wanted!r} (there are: {', '.join(sorted({*known, 'laptop'}))})",
            remedy="Describe it under `platforms:` in the pipeline file that makes the model.",
        )
    return known


def roll_back(name: str, to: int | None) -> dict[str, Any]:
    """Serves `to`, or the version that served before the present one. Raises NotFound, BadInput, ReplicaFailed."""
    with opened_world() as world:
        resource = get_deployment(world, name)
        target = to if to is not None else _previous(world, name, lead_of(resource))
        found = world.store.registry.get(resource.spec["model"], target)
        ensure_up(world.home)
        deploy = _asked(resource.spec, resource.spec["platform"]["name"], resource.spec["replicas"])
        platforms = {resource.spec["platform"]["name"]: resource.spec["platform"]["config"]}
        desired_deployment(world, name, resource.spec["model"], found.version, deploy, platforms, principal=f"{principal()} rollback")
        return wait_live(world, name, found.version)


def _previous(world: World, name: str, present: int) -> int:
    for _, live in sorted(world.store.registry.live_history(name), key=lambda entry: entry[0], reverse=True):
        versions = [int(row[0]) for row in live]
        if versions and present not in versions:
            return versions[0]
    raise BadInput(f"{name!r} never served another version than {present}; there is nothing to go back to")


def wait_live(world: World, name: str, version: int) -> dict[str, Any]:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < patience_s(resource := get_deployment(world, name)):
        phase = phase_of(resource)
        if phase == "live" and resource.status.get("version") == version:
            return deployment_row(resource)
        if phase == "failed":
            raise ReplicaFailed(f"{name!r} version {version}: {resource.status.get('error')}")
        time.sleep(0.05)
    raise ReplicaFailed(f"{name!r} version {version} is not live after {waited:.0f} s; look at `penstock deployments show {name}`")


def deployment_rows(store: Store, home: Home) -> list[dict[str, Any]]:
    """What is deployed and how it stands, newest first."""
    return [seen_from(home, deployment_row(r)) for r in store.resources.list("deployment") if r.phase != "deleted"]


def seen_from(home: Home, row: dict[str, Any]) -> dict[str, Any]:
    """The row as it is now: nobody keeps rows up to date after `penstock down`, and nothing serves then."""
    if gateway_state(home.gateway) is None and control_state(home) is None:
        return {**row, "phase": "stopped", "replicas": [], "url": None}
    return row


def deployment_story(name: str) -> dict[str, Any]:
    with opened_world() as world:
        resource = get_deployment(world, name)
        history = [{"at": at, "live": [_live(row) for row in live]} for at, live in world.store.registry.live_history(name)]
        events = [{"at": e.at, "type": e.type, "message": e.message} for e in world.store.events.latest("deployment", resource.id)]
        return {"deployment": seen_from(world.home, deployment_row(resource)), "history": history, "events": events}


def live_versions(name: str, at: str) -> dict[str, Any]:
    """`at`: an ISO time (local unless it says otherwise) or "now"."""
    try:
        instant = datetime.now(UTC) if at == "now" else datetime.fromisoformat(at).astimezone(UTC)
    except ValueError as error:
        raise BadInput(f"{at!r} is not a time; write it like 2026-11-21T03:12:00") from error
    with opened_world() as world:
        if not world.store.registry.live_history(name):
            get_deployment(world, name)  # one that never served is told from one that does not exist
        live = world.store.registry.live_at(name, instant.timestamp())
        return {"deployment": name, "at": instant.timestamp(), "live": [_live(row) for row in live]}


def delete_deployment(name: str) -> None:
    with opened_world() as world:
        get_deployment(world, name)
        ensure_up(world.home)
        with alone(world, name):
            resource = get_deployment(world, name)
            world.store.resources.set_spec("deployment", resource.id, {**resource.spec, "delete": True})
            world.store.audit.append(principal(), "deployment.delete", name, {})


def ask(name: str, inputs: Sequence[str], *, key: str | None, top_k: int, max_tokens: int) -> list[dict[str, Any]]:
    """Answers of deployment `name`, one per input, through the gateway. Without a key, the commands' own is used."""
    with opened_world() as world:
        resource = get_deployment(world, name)
        url = gateway_url(world.home)
        if url is None:
            raise PenstockError("the gateway does not run", remedy="Start it with `penstock up`.")
        secret = key or own_key(world.store, world.home)
        if resource.spec["task"] == "text-classification":
            body = {"model": name, "input": list(inputs), "top_k": top_k}
            answer = post(f"{url}/v1/classify", secret, body)
            return [{"input": text, "labels": row["labels"]} for text, row in zip(inputs, answer["data"], strict=True)]
        bodies = [{"model": name, "prompt": text, "max_tokens": max_tokens} for text in inputs]
        return [{"input": body["prompt"], "text": post(f"{url}/v1/completions", secret, body)["choices"][0]["text"]} for body in bodies]


def _version(text: str) -> int | str:
    return int(text) if text.isdigit() else text


def _live(row: Any) -> dict[str, Any]:
    version, bundle, weight = row
    return {"version": version, "bundle": bundle, "weight": weight}
