"""Who gets which requests: the one place where the split of a deployment, its header rules and its shadow are changed.

`set_traffic` is what people, rollouts, experiments and bandits all call. Each change is one transaction with its audit entry, idempotent,
and a new wish for the deployment's reconciler, which switches without losing a request.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.control.deployments import ASIDE, alone, get_deployment
from penstock.control.policy import deploy_of
from penstock.control.split import Part, resolve, split_of, told
from penstock.control.world import World
from penstock.core.errors import BadInput, NotFound
from penstock.spec.deploy import HeaderRule, Shadow, Traffic, Version
from penstock.store.resources import Resource


def set_traffic(world: World, name: str, split: Mapping[Any, float], *, principal: str, experiment: str | None = None) -> Resource:
    """Wants each version of `split` (number or alias) to get its share of requests; shares are taken relative to their sum.

    `experiment`: id of the experiment or bandit that moves the traffic and whose name is written into records; without one, an experiment
    or bandit that moved it ends. The same wish again changes nothing. Raises NotFound, BadInput.
    """
    total = sum(split.values())
    if not split or not math.isfinite(total) or total <= 0 or min(split.values()) < 0:
        raise BadInput(f"a split needs shares that are not negative, and one above 0; given: {dict(split)}")
    with changing(world, name) as resource:
        shares: dict[int, Part] = {}
        for wanted, share in split.items():
            found = resolve(world.store.registry, name, resource.spec["model"], wanted)
            if found.version in shares:
                raise BadInput(f"version {found.version} stands twice in the split ({wanted} is another name for it)")
            shares[found.version] = Part(found.version, found.bundle, round(share / total, 6))
        parts = [part for part in shares.values() if part.weight > 0]
        return _want_split(world, resource, parts, experiment, principal)


def set_rollout(
    world: World, name: str, parts: Sequence[Part], aside: Mapping[str, Any], *, rollout: str | None, principal: str
) -> Resource:
    """What a rollout wishes: shares, and by `aside` who is kept warm, the shadow, and replicas by version (JSON values of the spec).

    `rollout`: its id, written into records while it moves the traffic; None once it is over. The same wish again changes nothing.
    """
    with changing(world, name) as resource:
        return _want_split(world, resource, parts, rollout, principal, aside)


def undo_traffic(world: World, name: str, *, principal: str) -> Resource:
    """Back to the split before the last change; all that an experiment or a bandit did, its end with it, is one change. Undone twice, a
    change by hand is as it was.

    Raises NotFound, BadInput when there was none.
    """
    with changing(world, name) as resource:
        rows = resource.spec.get("before")
        if not rows:
            raise BadInput(f"{name!r} has had one split only; there is nothing to go back to")
        parts = [Part(int(row["version"]), row["bundle"], float(row["weight"])) for row in rows]
        return _want_split(world, resource, parts, None, principal)


def set_shadow(world: World, name: str, shadow: Shadow | None, *, principal: str) -> Resource:
    """A copy of `shadow.sample` of the requests goes to `shadow.version`, or none. Raises NotFound."""
    with changing(world, name) as resource:
        if shadow is not None:
            resolve(world.store.registry, name, resource.spec["model"], shadow.version)
        return _want_rules(world, resource, {"shadow": shadow}, "traffic.shadow", principal)


def set_header(world: World, name: str, header: str, value: str, version: Version | None, *, principal: str) -> Resource:
    """Requests whose `header` has `value` go to `version`; None takes the rule away. Raises NotFound, also for a rule that is not there."""
    with changing(world, name) as resource:
        rules = deploy_of(resource.spec).traffic.headers
        others = tuple(rule for rule in rules if (rule.header.lower(), rule.value) != (header.lower(), value))
        if version is None:
            if others == rules:
                known = ", ".join(f"{rule.header}={rule.value}" for rule in rules) or "none"
                raise NotFound(f"{name!r} has no rule for {header}={value} (there are: {known})")
            return _want_rules(world, resource, {"headers": others}, "traffic.header", principal)
        resolve(world.store.registry, name, resource.spec["model"], version)
        headers = (*others, HeaderRule(header=header, value=value, version=version))
        return _want_rules(world, resource, {"headers": headers}, "traffic.header", principal)


def _want_split(
    world: World,
    resource: Resource,
    parts: Sequence[Part],
    experiment: str | None,
    principal: str,
    aside: Mapping[str, Any] | None = None,
) -> Resource:
    versions, present = [part.share for part in parts], [part.share for part in split_of(resource.spec)]
    mover, beside = resource.spec.get("experiment"), {name: (aside or {}).get(name) for name in ASIDE}
    if (versions, experiment, beside) == (resource.spec.get("versions", present), mover, {name: resource.spec.get(name) for name in ASIDE}):
        return resource
    spec = {k: v for k, v in resource.spec.items() if k not in ("version", "bundle")}  # how rows once named their only version
    before = resource.spec.get("before") if mover is not None else present  # what an experiment had set is no place to go back to
    spec.update(versions=versions, experiment=experiment, before=before, wanted_at=world.clock.now(), **beside)
    shares = {str(part.version): part.weight for part in parts}
    detail = {"shares": shares, "before": {str(row["version"]): row["weight"] for row in present}, "experiment": experiment}
    world.store.audit.append(principal, "traffic.set", resource.name, detail)
    world.store.events.add("deployment", resource.id, "traffic.set", f"{principal} wants: {told(resource.spec['model'], parts)}", detail)
    return world.store.resources.set_spec("deployment", resource.id, spec)


def _want_rules(world: World, resource: Resource, change: Mapping[str, Any], action: str, principal: str) -> Resource:
    present = deploy_of(resource.spec).traffic
    traffic = Traffic.model_validate({**{name: getattr(present, name) for name in Traffic.model_fields}, **change})
    if traffic == present:
        return resource
    written = traffic.model_dump(mode="json", exclude_defaults=True)
    world.store.audit.append(principal, action, resource.name, {"traffic": written})
    spec = {**resource.spec, "deploy": {**resource.spec.get("deploy", {}), "traffic": written}}
    return world.store.resources.set_spec("deployment", resource.id, spec)


@contextlib.contextmanager
def changing(world: World, name: str) -> Iterator[Resource]:
    """The row, read and written in one transaction. Raises NotFound."""
    with alone(world, name):
        resource = get_deployment(world, name)
        if resource.spec.get("delete"):
            raise NotFound(f"deployment {name!r} is being removed")
        yield resource
