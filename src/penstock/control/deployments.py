"""Deployments: what is wanted behind a name is started beside what serves, made ready, switched to, then what is left over is drained.

No request is lost: what served goes on until the gateway says it routes by a snapshot that names the new set. A change of weights, of a
header rule or of the shadow is such a switch too. Who changes the wish: see traffic.py.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.control.adapters import Rows
from penstock.control.alerts.rows import follow_deployment
from penstock.control.contract import Again, Done, Outcome
from penstock.control.gateway import acknowledged, gateway_url, present_route, publish
from penstock.control.loaded import held_adapters, routable, trouble, wanted_adapters
from penstock.control.movers import follow_file, still_wanted
from penstock.control.moving import arrived, left, serving_at, to_leave
from penstock.control.policy import deploy_of, kept, with_policy
from penstock.control.readiness import beside, enough, pairs, ready, route_to, shares, show, used, waiting_phase
from penstock.control.scaling.live import with_replicas
from penstock.control.split import Part, Wanted, leading, live_of, servable, split_of, told, wanted_of
from penstock.control.world import World
from penstock.core.errors import NotFound, PlatformAway, PlatformDenied, PlatformFull
from penstock.platforms.contract import READY_S, Endpoints, EndpointSpec, EndpointState, ReplicaState, VersionSpec
from penstock.serving.snapshot import ModelRoute, VersionRoute
from penstock.store.resources import Resource

ASIDE = ("warm", "shadow", "replicas_of")  # what a rollout adds to a deployment's spec
WATCH_S = 1.0  # between looks at healthy replicas
SOON_S = 0.1
HELD_S = 5.0  # between tries where the platform refuses
LATER_S = 10.0  # that whoever waits for a deployment waits longer than its reconciler


def desired_deployment(
    world: World,
    name: str,
    model: str,
    version: int,
    deploy: Mapping[str, Any],
    platforms: Mapping[str, Any],
    *,
    principal: str,
    rollout: bool = False,
    adapters: Mapping[str, Rows] | None = None,
) -> Resource:
    """Makes or changes the deployment `name` so that `version` of `model` gets all requests. Audited. Raises NotFound.

    `deploy` is the section of the file, with those of policy.py's BESIDE (`monitor`, `alerts`, …) as keys in it. An experiment, bandit or
    rollout that moved traffic ends, unless it is just the one that the file asks for. `rollout`: what serves stays as it is, since a
    rollout will bring `version`. `adapters`: those that stand on each bundle (digest), checked by whoever asks; other bundles keep theirs.
    """
    found = world.store.registry.get(model, version)
    platform = deploy.get("to", "laptop")
    spec: dict[str, Any] = {
        "model": model,
        "versions": [{"version": found.version, "bundle": found.bundle, "weight": 1.0}],
        "experiment": None,
        "task": found.task,
        "platform": {"name": platform, "config": dict(platforms.get(platform, {"kind": "local"}))},
        "replicas": int(deploy.get("scale", {}).get("min", 1)),
        "wanted_at": world.clock.now(),
        "deploy": kept(deploy),
        "adapters": dict(adapters or {}),
    }
    detail: dict[str, Any] = {"model": model, "version": found.version, "bundle": found.bundle}
    if adapters is not None:
        detail["adapters"] = wanted_adapters(spec, found.bundle)
    with alone(world, name):
        existing = world.store.resources.find("deployment", name)
        world.store.audit.append(principal, "deployment.apply", name, detail)
        if existing is None or existing.phase == "deleted":  # a deleted one stays as history; its name is free again
            return world.store.resources.create("deployment", name, spec)
        present = existing.spec
        spec["adapters"] = {**present.get("adapters", {}), **spec["adapters"]}
        if rollout or still_wanted(world, existing, found.version, spec["deploy"].get("traffic", {})):
            spec |= {key: present[key] for key in ("versions", "experiment", "before", *ASIDE) if key in present}
        else:
            # What an experiment had set is no place to go back to.
            moved = present.get("experiment") is not None
            spec["before"] = present.get("before") if moved else [part.share for part in split_of(present)]
        return world.store.resources.set_spec("deployment", existing.id, spec)


@contextlib.contextmanager
def alone(world: World, name: str) -> Iterator[None]:
    """A transaction in which nobody else changes what is wanted of `name`: of two at once, the second sees what the first wrote."""
    with world.store.database.begin() as connection:
        world.store.database.serialize(connection, f"deployment/{name}")
        yield


def get_deployment(world: World, name: str) -> Resource:
    found = world.store.resources.find("deployment", name)
    if found is None or found.phase == "deleted":
        names = sorted({r.name for r in world.store.resources.list("deployment") if r.phase != "deleted"})
        raise NotFound(f"no deployment is called {name!r} (there are: {', '.join(names) or 'none'})")
    return found


def phase_of(resource: Resource) -> str:
    """The phase, once it speaks of the present wish; "pending" while the reconciler has not seen that yet."""
    return resource.phase if resource.status.get("generation") == resource.generation else "pending"


def patience_s(resource: Resource) -> float:
    """For how long whoever asked for a change waits, before the reconciler knows the platform's own time as after that."""
    return float(resource.status.get("ready_s", READY_S)) + LATER_S


class DeploymentReconciler:
    kind = "deployment"

    def reconcile(self, resource: Resource, world: World) -> Outcome:
        """One pass. Phases: pending → starting → switching → live; degraded serves with fewer replicas than wanted;
        failed keeps what was live serving and tries on.
        """
        platform = resource.spec["platform"]
        endpoints = world.endpoints(platform["name"], platform["config"])
        if resource.spec.get("delete"):
            return self._remove(resource, endpoints, world)
        status = dict(resource.status)
        if status.get("monitor") != resource.generation:
            follow_deployment(world, resource)
            status["monitor"] = resource.generation
        found = wanted_of(resource, world.store.registry)
        wanted, live = with_replicas(found, live_of(status), resource, status, world)  # live: what the gateway routes to
        elsewhere = self._elsewhere(resource, status, live, world)
        routed = [] if elsewhere is not None else _routed(resource, endpoints, world)
        if status.get("generation") != resource.generation:
            # A new wish starts fresh: replicas that failed under an older one must not speak for it.
            status.update(generation=resource.generation, error=None)
            broken = {r.version for r in endpoints.observe(resource.name).replicas if r.phase == "failed"}
            sound = [part for part in wanted.parts if str(part.version) not in broken]
            later_s = self._apply(resource, status, endpoints, (*routed, *(live if elsewhere is None else ()), *sound), world)
            return self._save(resource, status, "starting", later_s, world)
        later_s = self._apply(resource, status, endpoints, (*routed, *(live if elsewhere is None else ()), *wanted.parts), world)
        seen = endpoints.observe(resource.name)
        status["replicas"] = [show(r) for r in seen.replicas]
        status["ready_s"] = seen.ready_s
        status["url"] = gateway_url(world.home)
        status["notes"] = [*wanted.notes, *beside(wanted, seen), *([status["held"]["message"]] if status.get("held") else [])]
        if (unfit := trouble(resource.spec, [part.bundle for part in wanted.parts], seen.replicas)) is not None:
            status["notes"].append(unfit)
        if enough(wanted, live if elsewhere is None else (), seen):
            return self._switch(resource, status, wanted, seen, world)
        if live:
            # What is live may have changed address: a killed replica comes back elsewhere.
            present = replace(wanted, parts=live, adapters=status.get("adapters", {}))
            self._route(resource, status, present, elsewhere or seen, world, status.get("experiment"))
        soon_s = max(seen.soon_s, later_s)
        serves = {part.version for part in live if part.weight > 0} if elsewhere is None else set()
        return self._save(resource, status, waiting_phase(resource, status, wanted, seen, serves, world), soon_s, world)

    def _elsewhere(self, resource: Resource, status: dict[str, Any], live: Sequence[Part], world: World) -> EndpointState | None:
        """What serves in another place than is wanted, kept as it is. Places that nothing leads to any more are let go, a step each."""
        wanted = resource.spec["platform"]
        at = serving_at(status, wanted)
        for place in to_leave(status, wanted):
            with contextlib.suppress(PlatformAway, PlatformDenied, PlatformFull):  # `penstock down` tells what stays
                old, new = (world.endpoints(one["name"], one["config"]) for one in (place, wanted))
                if _same(old.observe(resource.name), new.observe(resource.name)):
                    left(status, place)
                elif not self._let_go(resource, old):
                    left(status, place)
                    world.store.events.add(
                        "deployment", resource.id, "deployment.left", f"nothing of it is on {place['name']} any more", {}
                    )
        if at is None or not live:
            return None
        there = world.endpoints(at["name"], at["config"])
        with contextlib.suppress(PlatformAway, PlatformDenied, PlatformFull):
            there.apply(_endpoint(resource, (*_routed(resource, there, world), *live)))
        return there.observe(resource.name)

    def _apply(self, resource: Resource, status: dict[str, Any], endpoints: Endpoints, parts: Sequence[Part], world: World) -> float:
        """Seconds to wait at least. A platform that is away, throttles or refuses holds up what it is asked for, not what it serves:
        that is told once, and the rest of the pass goes on.
        """
        try:
            endpoints.apply(_endpoint(resource, parts))
        except (PlatformAway, PlatformDenied, PlatformFull) as error:
            if (status.get("held") or {}).get("code") != error.code:
                world.store.events.add("deployment", resource.id, "deployment.held", str(error), error.as_json())
            status["held"] = {"code": error.code, "message": str(error)}
            return error.after_s if isinstance(error, PlatformAway) else HELD_S
        status["held"] = None
        return 0.0

    def _switch(self, resource: Resource, status: dict[str, Any], wanted: Wanted, seen: EndpointState, world: World) -> Outcome:
        before = live_of(status)
        experiment = resource.spec.get("experiment")
        snapshot = self._route(resource, status, wanted, seen, world, experiment)
        if not acknowledged(world.home, snapshot):
            return self._save(resource, status, "switching", SOON_S, world)
        arrived(status, resource.spec["platform"])
        live = [part for part in wanted.parts if part.weight > 0 or ready(seen, part)]
        first = leading(live)
        status.update(live=[part.as_json() for part in live], version=first.version if first else None)
        status.update(experiment=experiment, shadow=wanted.shadow.version if wanted.shadow else None, error=None)
        adapted = status.get("adapters", {}) != wanted.adapters
        if adapted:
            self._tell_adapters(resource, status, wanted, world)
        changed = shares(before) != shares(live)
        if changed:
            if shares(live) != [tuple(row) for row in world.store.registry.live_at(resource.name, world.clock.now())]:
                world.store.registry.record_live(resource.name, shares(live))
            said = {"versions": [part.as_json() for part in live], "experiment": experiment}
            world.store.events.add("deployment", resource.id, "deployment.live", told(resource.spec["model"], live), said)
        full = all(len(ready(seen, part)) >= part.replicas for part in wanted.weighted)
        gone = {str(part.version) for part in before} - {str(part.version) for part in wanted.parts}
        fewer = {part.version: part.replicas for part in before} != {part.version: part.replicas for part in live}
        if full and (waits := follow_file(world, resource)):
            status["notes"].append(waits)
        # Replicas too many, and adapters that are wanted no more, go at the next pass: nothing routes to them by now.
        soon = not full or changed or adapted or bool(gone) or fewer or bool(to_leave(status, resource.spec["platform"]))
        return self._save(resource, status, "live" if full else "degraded", SOON_S if soon else WATCH_S, world)

    def _tell_adapters(self, resource: Resource, status: dict[str, Any], wanted: Wanted, world: World) -> None:
        status["adapters"] = {bundle: dict(names) for bundle, names in wanted.adapters.items()}
        data = {str(part.version): dict(wanted.adapters.get(part.bundle, {})) for part in wanted.parts}
        told = "; ".join(f"{resource.spec['model']}:{version}: {', '.join(names) or 'none'}" for version, names in data.items())
        world.store.events.add("deployment", resource.id, "deployment.adapters", f"adapters of {told}", data)

    def _route(
        self, resource: Resource, status: dict[str, Any], wanted: Wanted, seen: EndpointState, world: World, experiment: str | None
    ) -> int:
        """Publishes the ready replicas of what can be served of `wanted`; returns the number of the snapshot that holds them."""
        can = servable(wanted, {part.version: len(ready(seen, part)) for part in wanted.parts})
        routes = tuple(_version_route(part, used(seen, part), can) for part in can.parts)
        model = with_policy(ModelRoute(resource.name, resource.spec["task"], routes), resource.spec)
        # While a version hands its share on, what is drawn is not what the experiment wants: such requests must not count for it.
        drawn = all(abs(part.weight - wished.weight) < 1e-4 for part, wished in pairs(can, wanted))
        model = replace(model, headers=can.headers, shadow=can.shadow, experiment=experiment if drawn else None)
        status["route"] = [{"version": r.version, "weight": r.weight, "replicas": [at.id for at in r.replicas]} for r in routes]
        return publish(world.store, world.home, model)

    def _remove(self, resource: Resource, endpoints: Endpoints, world: World) -> Outcome:
        publish(world.store, world.home, None, removed=resource.name)
        follow_deployment(world, resource)
        places = to_leave({**resource.status, "at": None}, resource.spec["platform"])
        others = [world.endpoints(place["name"], place["config"]) for place in places]
        later_s = max([self._let_go(resource, one) for one in (endpoints, *others)])
        if later_s:  # others go on meanwhile
            return self._save(resource, dict(resource.status), resource.phase, later_s, world)
        world.store.registry.record_live(resource.name, [])
        world.store.resources.save("deployment", resource.id, world.owner, status={}, phase="deleted", due_at=None)
        return Done()

    def _let_go(self, resource: Resource, endpoints: Endpoints) -> float:
        """One step towards nothing; seconds until the next one, 0 when it is gone. What still answers finishes first."""
        try:
            endpoints.apply(_endpoint(resource, ()))
            if endpoints.observe(resource.name).replicas:
                return SOON_S
            endpoints.delete(resource.name, within_s=0.0)
        except PlatformAway as error:
            return error.after_s
        return 0.0

    def _save(self, resource: Resource, status: dict[str, Any], phase: str, after_s: float, world: World) -> Outcome:
        due = world.clock.now() + after_s
        world.store.resources.save("deployment", resource.id, world.owner, status=status, phase=phase, due_at=due)
        return Again(after_s)


def _same(one: EndpointState, other: EndpointState) -> bool:
    """Whether two ways lead to one place after all, as two kubeconfigs to one cluster."""
    first, second = ({replica.id for replica in state.replicas if replica.address} for state in (one, other))
    return not first.isdisjoint(second)


def _version_route(part: Part, replicas: Sequence[ReplicaState], can: Wanted) -> VersionRoute:
    adapters = routable(replicas, can.adapters.get(part.bundle, {}))
    return VersionRoute(str(part.version), part.bundle, part.weight, tuple(route_to(r) for r in replicas), adapters)


def _endpoint(resource: Resource, parts: Sequence[Part]) -> EndpointSpec:
    """Every version of `parts` once, with the most replicas that are asked of it: what the gateway still routes to is not drained."""
    most: dict[int, int] = {}
    for part in parts:
        most[part.version] = max(part.replicas, most.get(part.version, 0))
    held = {part.bundle: held_adapters(resource.spec, resource.status, part.bundle) for part in parts}
    versions = {
        part.version: VersionSpec(str(part.version), part.bundle, most[part.version], held[part.bundle], part.weight) for part in parts
    }
    return EndpointSpec(resource.name, tuple(versions.values()), deploy_of(resource.spec).engine)


def _routed(resource: Resource, endpoints: Endpoints, world: World) -> list[Part]:
    """What the gateway may send requests to now, whatever the row says: a process that was killed may have published and not saved."""
    route, known = present_route(world.home, resource.name)
    counts = {(version.version, version.digest): len(version.replicas) for version in route.versions} if route is not None else {}
    if not known:
        ready = Counter((r.version, r.bundle) for r in endpoints.observe(resource.name).replicas if r.phase == "ready")
        counts = {key: max(counts.get(key, 0), ready[key]) for key in {*counts, *ready}}
    return [Part(int(version), bundle, 0.0, number) for (version, bundle), number in counts.items() if number]


def lead_of(resource: Resource) -> int:
    """The version that the deployment's spec gives most requests."""
    first = leading(split_of(resource.spec))
    assert first is not None
    return first.version
