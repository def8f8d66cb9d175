"""The rows that move a deployment's traffic, experiments and bandits: made from the file's section or from a command, at most one at work.

A row from the file has an id by what it is about, so it is made once: decided or stopped, it does not start again for the same versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.control.policy import deploy_of
from penstock.control.split import leading, resolve, split_of
from penstock.control.world import World
from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import BadInput, Conflict, NotFound
from penstock.spec.deploy import Bandit, Deploy, Experiment, Version
from penstock.store.registry import ModelVersion
from penstock.store.resources import Resource

KINDS = ("experiment", "bandit")


def experiment_row(world: World, deployment: Resource, wish: Experiment, *, principal: str) -> dict[str, Any]:
    """The spec of an experiment between the version that leads and `wish.challenger`. Raises NotFound, BadInput when they are one."""
    lead = leading(split_of(deployment.spec))
    assert lead is not None
    challenger = _version(world, deployment, wish.challenger)
    if challenger.version == lead.version:
        raise BadInput(f"version {lead.version} is the one that serves; an experiment needs another one beside it")
    settings = wish.model_dump(mode="json", exclude={"challenger"})
    champion = {"version": lead.version, "bundle": lead.bundle}
    return {**settings, **_about(deployment, principal), "champion": champion, "challenger": _named(challenger)}


def bandit_row(world: World, deployment: Resource, wish: Bandit, *, principal: str) -> dict[str, Any]:
    """The spec of a bandit over `wish.versions`. Raises NotFound, BadInput for fewer than two different ones."""
    found = [_version(world, deployment, version) for version in wish.versions]
    if len({one.version for one in found}) < len(found):
        named = ", ".join(f"{wanted} is {one.version}" for wanted, one in zip(wish.versions, found, strict=True))
        raise BadInput(f"a bandit needs different versions ({named})")
    settings = wish.model_dump(mode="json", exclude={"versions"})
    return {**settings, **_about(deployment, principal), "versions": [_named(one) for one in found]}


def start_mover(world: World, deployment: Resource, kind: str, spec: Mapping[str, Any]) -> Resource:
    """Makes the row; its reconciler does the rest. Audited. Raises Conflict while another one moves this deployment's traffic."""
    mover = deployment.spec.get("experiment")
    if mover is not None and not _over(world, mover):
        raise Conflict(f"{mover} moves the traffic of {deployment.name!r}", remedy=f"End it: penstock traffic undo {deployment.name}")
    made = world.store.resources.create(kind, deployment.name, spec)
    world.store.audit.append(spec["principal"], f"{kind}.start", deployment.name, {kind: made.id})
    return made


def follow_file(world: World, deployment: Resource) -> str | None:
    """Starts what the file's `traffic` asks for, once, when nothing else moves the traffic. Returns why it cannot yet, in words."""
    traffic = deploy_of(deployment.spec).traffic
    kind = "experiment" if traffic.experiment is not None else "bandit"
    try:
        if traffic.experiment is not None:
            spec = experiment_row(world, deployment, traffic.experiment, principal="file")
        elif traffic.bandit is not None:
            spec = bandit_row(world, deployment, traffic.bandit, principal="file")
        else:
            return None
    except (NotFound, BadInput) as error:
        return None if _moved(deployment) else f"the {kind} waits: {error}"
    if _moved(deployment):
        return None
    if (other := _set_by_hand(world, deployment)) is not None:
        return f"the {kind} waits: {other}"
    ident = f"{kind}-{hex_of(digest_json([deployment.id, spec]))[:20]}"
    try:
        world.store.resources.get(kind, ident)
    except NotFound:
        world.store.resources.create(kind, deployment.name, spec, id=ident)
        world.store.audit.append("file", f"{kind}.start", deployment.name, {kind: ident})
    return None


def asks_for_challenger(deploy: Mapping[str, Any]) -> bool:
    """Whether the file's traffic names the alias `challenger` anywhere."""
    traffic = Deploy.model_validate({"traffic": deploy.get("traffic", {})}).traffic
    named = [rule.version for rule in traffic.headers]
    named += [one for one in (traffic.shadow and traffic.shadow.version, traffic.experiment and traffic.experiment.challenger) if one]
    return "challenger" in (*named, *(traffic.bandit.versions if traffic.bandit else ()))


def still_wanted(world: World, deployment: Resource, version: int, traffic: Mapping[str, Any]) -> bool:
    """Whether an experiment or bandit that moves the traffic now is the one that `traffic` (JSON) asks for around `version`.

    Then a run that deploys the same again must not begin it anew.
    """
    if not _moved(deployment) or traffic != deployment.spec.get("deploy", {}).get("traffic", {}):
        return False
    asked = Deploy.model_validate({"traffic": traffic}).traffic
    if asked.experiment is not None:
        wished: tuple[Version, ...] = (version, asked.experiment.challenger)
    else:
        wished = asked.bandit.versions if asked.bandit is not None else ()
    try:
        found = {_version(world, deployment, one).version for one in wished}
    except NotFound:
        return False
    return version in found and found == {part.version for part in split_of(deployment.spec)}


def mover_of(world: World, deployment: str) -> Resource | None:
    """The newest experiment or bandit of a deployment, at work or over."""
    found = [row for kind in KINDS if (row := world.store.resources.find(kind, deployment)) is not None]
    return max(found, key=lambda row: row.created_at, default=None)


def _moved(deployment: Resource) -> bool:
    return deployment.spec.get("experiment") is not None


def _set_by_hand(world: World, deployment: Resource) -> str | None:
    """Why the traffic is not the champion's alone: after a rollback, or a split by hand, nothing starts by itself."""
    parts = split_of(deployment.spec)
    champion = world.store.registry.aliases(deployment.spec["model"]).get("champion", parts[0].version)
    if len(parts) > 1:
        return "the traffic is split by hand"
    return None if parts[0].version == champion else f"version {parts[0].version} serves, which is not the champion ({champion})"


def _over(world: World, mover: str) -> bool:
    try:
        row = world.store.resources.get(mover.partition("-")[0], mover)
    except NotFound:
        return True
    return row.due_at is None


def _version(world: World, deployment: Resource, wanted: Version) -> ModelVersion:
    return resolve(world.store.registry, deployment.name, deployment.spec["model"], wanted)


def _named(version: ModelVersion) -> dict[str, Any]:
    return {"version": version.version, "bundle": version.bundle}


def _about(deployment: Resource, principal: str) -> dict[str, Any]:
    return {"deployment": deployment.name, "model": deployment.spec["model"], "principal": principal}
