"""Our registry and that of a cloud kept the same, for models that were made on a platform whose section says `registry: true`.

What both were last seen to agree on stands in a file, so that an answer that lags behind a change of ours is not taken for theirs.
Without the file a refusal on either side stands, and else our state; aliases are then ours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.core.errors import ArtifactMissing, BadInput, NotFound, PenstockError
from penstock.core.files import write_atomic
from penstock.core.home import Home
from penstock.platforms.mirrors import REFUSED, Card, Mirror, Shown, agreed, followed
from penstock.platforms.table import PLATFORMS
from penstock.store.registry import ModelVersion
from penstock.store.store import Store

log = logging.getLogger("penstock.outside")


def mirror(store: Store, home: Home, sections: dict[str, dict[str, Any]] | None = None) -> int:
    """One look at every version that is mirrored; the number of changes on either side. One registry that fails holds up no other.

    `sections`: of the platforms that runs were on, by run, which never changes; kept by whoever looks again, so each is read once.
    """
    changes = 0
    for config, models in _wanting(store, {} if sections is None else sections):
        try:
            there: Mirror | None = PLATFORMS.load(config["kind"]).mirror(home, store.artifacts, config)
            if there is not None:
                changes += sum([_followed(store, home, there, config, versions) for versions in models.values()])
        except PenstockError as error:
            log.warning("registry of %s: %s %s", config["kind"], error, error.way_out)
    return changes


def _wanting(store: Store, sections: dict[str, dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, list[ModelVersion]]]]:
    """Sections that ask for it, with the versions that were made there, by model."""
    found: dict[str, tuple[dict[str, Any], dict[str, list[ModelVersion]]]] = {}
    for model in store.registry.models():
        for version in store.registry.versions(model):
            if version.run not in sections:
                sections[version.run] = _section(store, version)
            config = sections[version.run]
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


@dataclass(frozen=True, slots=True)
class Agreed:
    """`states` by number of the version, `aliases` by name."""

    states: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pair:
    """One model in our registry and in `there`, a registry of `kind`."""

    store: Store
    there: Mirror
    kind: str
    model: str

    @property
    def by(self) -> str:
        return f"the registry of {self.kind}"


def _followed(store: Store, home: Home, there: Mirror, config: dict[str, Any], versions: list[ModelVersion]) -> int:
    """What is wrong with one model holds up no other."""
    try:
        return _follow(store, home, there, config, versions)
    except (ArtifactMissing, BadInput) as error:
        log.warning("registry of %s, model %s: %s %s", config["kind"], versions[0].model, error, error.way_out)
        return 0


def _follow(store: Store, home: Home, there: Mirror, config: dict[str, Any], versions: list[ModelVersion]) -> int:
    pair = Pair(store, there, config["kind"], versions[0].model)
    place = home.folder / "outside" / f"registry-{hex_of(digest_json([config, pair.model]))[:16]}.json"
    last, shown = _last(place), there.look(pair.model)
    changes = sum(_state(pair, version, last, shown.states) for version in versions)
    rows = store.registry.versions(pair.model) if changes else versions
    mine = {version.version for version in versions}
    states = {row.version: row.state for row in rows if row.version in mine}
    changes += _aliases(pair, last, states, shown)
    after = _seen(pair, last, states, there.look(pair.model) if changes else shown)
    if after != last:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, json.dumps(asdict(after)).encode(), sync=False)
    return changes


def _state(pair: Pair, version: ModelVersion, last: Agreed, theirs: Mapping[int, str]) -> bool:
    """Whether either side was changed."""
    number = version.version
    if number not in theirs:
        told = (version.bundle, version.run, version.task, version.state, version.metrics)
        pair.there.add(Card(pair.model, number, *told, dataset=version.facts.get("data.dataset", "")))
        return True
    both = agreed(last.states.get(str(number)), version.state, theirs[number])
    if both != version.state:
        pair.store.registry.set_state(pair.model, number, both)
        said = {"from": version.state, "to": both, "by": pair.by}
        pair.store.audit.append(f"registry {pair.kind}", "model.decide", f"{pair.model}:{number}", said)
    elif both != theirs[number]:
        pair.there.decide(pair.model, number, both, f"{both} at Penstock")
    return both != version.state or both != theirs[number]


def _aliases(pair: Pair, last: Agreed, states: Mapping[int, str], shown: Shown) -> int:
    """As `penstock models promote`, an alias there takes no version that its gates refused: it is moved back."""
    registry, changes = pair.store.registry, 0
    ours, theirs = _named(pair, states), shown.aliases
    for alias in sorted(name for name in {*ours, *theirs} if pair.there.takes(name)):
        mine = ours.get(alias)
        both = followed(last.aliases.get(alias), mine, theirs.get(alias))
        if both != mine and both is not None and states.get(both) == REFUSED:
            log.warning("%s %s: %s names version %d, which its gates refused; it is moved back", pair.model, alias, pair.by, both)
            both = mine
        if both != mine:
            said = {"alias": alias, "before": registry.aliases(pair.model).get(alias), "by": pair.by}
            registry.set_alias(pair.model, alias, both, f"registry {pair.kind}")
            pair.store.audit.append(f"registry {pair.kind}", "model.promote", f"{pair.model}:{both}", said)
        moved = both != theirs.get(alias) or alias in shown.doubled
        if moved:
            pair.there.point(pair.model, alias, both)
        changes += both != mine or moved
    return changes


def _named(pair: Pair, states: Mapping[int, str]) -> dict[str, int]:
    """Our aliases of versions that are there too."""
    return {alias: number for alias, number in pair.store.registry.aliases(pair.model).items() if number in states}


def _seen(pair: Pair, last: Agreed, states: Mapping[int, str], shown: Shown) -> Agreed:
    """What both sides show now, and of the rest what they last agreed on."""
    same = {str(number): state for number, state in states.items() if shown.states.get(number) == state}
    ours, there = _named(pair, states), shown.aliases
    alike = {alias: number for alias, number in there.items() if pair.there.takes(alias) and ours.get(alias) == number}
    gone = {alias for alias in last.aliases if alias not in ours and alias not in there}
    kept = {alias: number for alias, number in last.aliases.items() if alias not in gone}
    return Agreed({**last.states, **same}, {**kept, **alike})


def _last(place: Path) -> Agreed:
    try:
        return Agreed(**json.loads(place.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return Agreed()
