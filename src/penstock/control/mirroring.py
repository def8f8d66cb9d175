"""Our registry and that of a cloud kept the same, for models that were made on a platform whose section says `registry: true`.

What both last agreed on stands in a file. Without it a refusal on either side stands, and else our state.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import NotFound, PenstockError
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.platforms.mirrors import Card, Mirror, agreed
from penstock.platforms.table import PLATFORMS
from penstock.store.registry import ModelVersion
from penstock.store.store import Store

log = logging.getLogger("penstock.outside")


def mirror(store: Store, home: Home) -> int:
    """One look at every version that is mirrored; the number of changes on either side. One registry that fails holds up no other."""
    changes = 0
    for config, models in _wanting(store):
        try:
            there: Mirror | None = PLATFORMS.load(config["kind"]).mirror(home, store.artifacts, config)
            if there is not None:
                changes += sum(_follow(store, home, there, config, versions) for versions in models.values())
        except PenstockError as error:
            log.warning("registry of %s: %s %s", config["kind"], error, error.way_out)
    return changes


def _wanting(store: Store) -> Iterator[tuple[dict[str, Any], dict[str, list[ModelVersion]]]]:
    """Sections that ask for it, with the versions that were made there, by model."""
    found: dict[str, tuple[dict[str, Any], dict[str, list[ModelVersion]]]] = {}
    for model in store.registry.models():
        for version in store.registry.versions(model):
            config = _section(store, version)
            if config.get("registry"):
                place = found.setdefault(json.dumps(config, sort_keys=True), (config, {}))
                place[1].setdefault(model, []).append(version)
    yield from found.values()


def _section(store: Store, version: ModelVersion) -> dict[str, Any]:
    """Of the platform that the version's run was on; empty for a version that no run made."""
    try:
        found: dict[str, Any] = store.resources.get("run", version.run).spec.get("platform", {}).get("config", {})
    except NotFound:
        return {}
    return found


def _follow(store: Store, home: Home, there: Mirror, config: dict[str, Any], versions: list[ModelVersion]) -> int:
    model = versions[0].model
    place = home.folder / "outside" / f"registry-{hex_of(digest_json([config, model]))[:16]}.json"
    theirs, last, changes = there.states(model), _last(place), 0
    for version in versions:
        if version.version not in theirs:
            there.add(Card(model, version.version, version.bundle, version.run, version.task, version.state, version.metrics))
            changes += 1
            continue
        both = agreed(last.get(str(version.version)), version.state, theirs[version.version])
        if both != version.state:
            store.registry.set_state(model, version.version, both)
            said = {"from": version.state, "to": both, "by": f"the registry of {config['kind']}"}
            store.audit.append(f"registry {config['kind']}", "model.decide", f"{model}:{version.version}", said)
        elif both != theirs[version.version]:
            there.decide(model, version.version, both, f"{both} at Penstock")
        changes += both != version.state or both != theirs[version.version]
    states = {str(v.version): store.registry.get(model, v.version).state for v in versions}
    if states != last:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, json.dumps(states).encode(), sync=False)
    return changes


def _last(place: Path) -> dict[str, str]:
    try:
        value: dict[str, str] = json.loads(place.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value
