"""Deployments: the version that is wanted behind a name is started beside the old one, made ready, switched to, then the old one drained.

No request is lost: the old replicas serve until the gateway says it routes by a snapshot that names the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.control.contract import Again, Done, Outcome
from penstock.control.gateway import acknowledged, gateway_url, publish
from penstock.control.policy import deploy_of, kept, with_policy
from penstock.control.world import World
from penstock.core.errors import NotFound
from penstock.platforms.contract import Endpoints, EndpointSpec, EndpointState, ReplicaState, VersionSpec
from penstock.serving.snapshot import ModelRoute, ReplicaRoute, VersionRoute
from penstock.store.resources import Resource

WATCH_S = 1.0  # between looks at healthy replicas
SOON_S = 0.1
GIVE_UP_S = 120.0  # for a new version to become ready


def desired_deployment(
    world: World, name: str, model: str, version: int, deploy: Mapping[str, Any], platforms: Mapping[str, Any], *, principal: str
) -> Resource:
    """Makes or changes the deployment `name` so that it wants `version` of `model`. Audited. Raises NotFound.

    `deploy` is the section of the file; its key `monitor`, if any, is that section.
    """
    found = world.store.registry.get(model, version)
    platform = deploy.get("to", "laptop")
    spec = {
        "model": model,
        "version": found.version,
        "bundle": found.bundle,
        "task": found.task,
        "platform": {"name": platform, "config": dict(platforms.get(platform, {"kind": "local"}))},
        "replicas": int(deploy.get("scale", {}).get("min", 1)),
        "wanted_at": world.clock.now(),
        "deploy": kept({k: v for k, v in deploy.items() if k != "monitor"}, deploy.get("monitor")),
    }
    existing = world.store.resources.find("deployment", name)
    world.store.audit.append(principal, "deployment.apply", name, {"model": model, "version": found.version, "bundle": found.bundle})
    if existing is None or existing.phase == "deleted":  # a deleted one stays as history; its name is free again
        return world.store.resources.create("deployment", name, spec)
    return world.store.resources.set_spec("deployment", existing.id, spec)


def get_deployment(world: World, name: str) -> Resource:
    found = world.store.resources.find("deployment", name)
    if found is None or found.phase == "deleted":
        names = sorted({r.name for r in world.store.resources.list("deployment") if r.phase != "deleted"})
        raise NotFound(f"no deployment is called {name!r} (there are: {', '.join(names) or 'none'})")
    return found


def phase_of(resource: Resource) -> str:
    """The phase, once it speaks of the present wish; "pending" while the reconciler has not seen that yet."""
    return resource.phase if resource.status.get("generation") == resource.generation else "pending"


class DeploymentReconciler:
    kind = "deployment"

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass. Phases: pending → starting → switching → live; degraded serves with fewer replicas than wanted;
        failed keeps the old version serving and tries on.
        """
        platform = resource.spec["platform"]
        endpoints = world.endpoints(platform["name"], platform["config"])
        if resource.spec.get("delete"):
            return self._remove(resource, endpoints, world)
        status = dict(resource.status)
        live = status.get("live")  # {"version", "bundle", "replicas"} that the gateway routes to
        if status.get("generation") != resource.generation:
            # A new wish starts fresh: replicas that failed under an older one must not speak for it.
            status.update(generation=resource.generation, error=None)
            endpoints.apply(EndpointSpec(resource.name, (_version(live),) if live else (), deploy_of(resource.spec).engine))
            return self._save(resource, status, "starting", 0.0, world)
        wanted = {"version": resource.spec["version"], "bundle": resource.spec["bundle"], "replicas": resource.spec["replicas"]}
        versions = [wanted] if live is None or live["version"] == wanted["version"] else [live, wanted]
        endpoints.apply(EndpointSpec(resource.name, tuple(_version(v) for v in versions), deploy_of(resource.spec).engine))
        seen = endpoints.observe(resource.name)
        ready = _ready(seen, str(wanted["version"]))
        status["replicas"] = [_show(r) for r in seen.replicas]
        status["url"] = gateway_url(world.home)
        if len(ready) >= resource.spec["replicas"] or (live and live["version"] == wanted["version"] and ready):
            return self._switch(resource, status, wanted, seen, world)
        if live is not None:
            # What is live may have changed address: a killed replica comes back elsewhere.
            self._route(resource, status, live, seen, world)
        return self._save(resource, status, _waiting_phase(resource, status, seen, world), SOON_S, world)

    def _switch(self, resource: Resource, status: dict[str, Any], wanted: dict[str, Any], seen: EndpointState, world: World) -> Outcome:
        new = (status.get("live") or {}).get("version") != wanted["version"]
        snapshot = self._route(resource, status, wanted, seen, world)
        if not acknowledged(world.home, snapshot):
            return self._save(resource, status, "switching", SOON_S, world)
        status["live"], status["version"], status["error"] = wanted, wanted["version"], None
        if new:
            live = [(wanted["version"], wanted["bundle"], 1.0)]
            world.store.registry.record_live(resource.name, live)
            message = f"{resource.spec['model']}:{wanted['version']} serves all requests"
            world.store.events.add("deployment", resource.id, "deployment.live", message, wanted)
        enough = len(_ready(seen, str(wanted["version"]))) >= wanted["replicas"]
        return self._save(resource, status, "live" if enough else "degraded", WATCH_S if enough and not new else SOON_S, world)

    def _route(self, resource: Resource, status: dict[str, Any], version: Mapping[str, Any], seen: EndpointState, world: World) -> int:
        """Publishes the ready replicas of `version`; returns the number of the snapshot that holds them."""
        routes = tuple(_route_to(r) for r in _ready(seen, str(version["version"])))
        route = VersionRoute(str(version["version"]), version["bundle"], 1.0, routes)
        model = with_policy(ModelRoute(resource.name, resource.spec["task"], (route,)), resource.spec)
        status["route"] = {"version": route.version, "replicas": [r.id for r in routes]}
        return publish(world.store, world.home, model)

    def _remove(self, resource: Resource, endpoints: Endpoints, world: World) -> Outcome:
        publish(world.store, world.home, None, removed=resource.name)
        endpoints.delete(resource.name)
        world.store.registry.record_live(resource.name, [])
        world.store.resources.save("deployment", resource.id, world.owner, status={}, phase="deleted", due_at=None)
        return Done()

    def _save(self, resource: Resource, status: dict[str, Any], phase: str, after_s: float, world: World) -> Outcome:
        due = world.clock.now() + after_s
        world.store.resources.save("deployment", resource.id, world.owner, status=status, phase=phase, due_at=due)
        return Again(after_s)


def _waiting_phase(resource: Resource, status: dict[str, Any], seen: EndpointState, world: World) -> str:
    wanted = str(resource.spec["version"])
    broken = [r for r in seen.replicas if r.version == wanted and r.phase == "failed"]
    late = world.clock.now() - resource.spec["wanted_at"] > GIVE_UP_S
    if (broken or late) and (status.get("live") or {}).get("version") != resource.spec["version"]:
        status["error"] = broken[0].error if broken else f"not ready {GIVE_UP_S:.0f} s after it was asked for"
        return "failed"
    return "starting"


def _version(value: Mapping[str, Any]) -> VersionSpec:
    return VersionSpec(str(value["version"]), value["bundle"], value["replicas"])


def _ready(seen: EndpointState, version: str) -> Sequence[ReplicaState]:
    return [r for r in seen.replicas if r.version == version and r.phase == "ready" and r.address]


def _route_to(replica: ReplicaState) -> ReplicaRoute:
    assert replica.address is not None
    host, _, port = replica.address.rpartition(":")
    return ReplicaRoute(replica.id, host, int(port))


def _show(replica: ReplicaState) -> dict[str, Any]:
    return {"id": replica.id, "version": replica.version, "phase": replica.phase, "address": replica.address, "error": replica.error}
