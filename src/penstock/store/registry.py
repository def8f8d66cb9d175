"""Registry: immutable model versions, movable aliases with their history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update

from penstock.core.clock import Clock
from penstock.core.errors import NotFound
from penstock.store.database import Database
from penstock.store.live import LiveLog, Share
from penstock.store.schema import alias_changes
from penstock.store.schema import model_versions as table


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """`bundle`: digest of what is served. `gates`: verdicts as the gates gave them. `state`: registered, promoted, refused, …"""

    model: str
    version: int
    bundle: str
    run: str
    task: str
    metrics: Mapping[str, float]
    gates: Any
    facts: Mapping[str, Any]
    state: str
    created_at: float


_COLUMNS = [table.c[name] for name in ModelVersion.__slots__]


class Registry:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._live = LiveLog(database, clock)

    def register(
        self, model: str, bundle: str, *, run: str, task: str, metrics: Mapping[str, float], gates: Any, facts: Mapping[str, Any]
    ) -> ModelVersion:
        """The next version of `model`; the same bundle again gives the version it has."""
        with self._database.begin() as connection:
            self._database.serialize(connection, f"model/{model}")
            known = connection.execute(select(*_COLUMNS).where(table.c.model == model, table.c.bundle == bundle)).one_or_none()
            if known is not None:
                return ModelVersion(*known)
            last = connection.execute(select(func.max(table.c.version)).where(table.c.model == model)).scalar() or 0
            at = self._clock.now()
            made = ModelVersion(model, last + 1, bundle, run, task, dict(metrics), gates, dict(facts), "registered", at)
            connection.execute(table.insert(), {name: getattr(made, name) for name in ModelVersion.__slots__})
        return made

    def get(self, model: str, version: int | str) -> ModelVersion:
        """By number, by alias, or `latest`. Raises NotFound with what there is."""
        number = self._number(model, version)
        with self._database.reading() as connection:
            row = connection.execute(select(*_COLUMNS).where(table.c.model == model, table.c.version == number)).one_or_none()
        if row is None:
            raise NotFound(f"model {model!r} has no version {version!r}")
        return ModelVersion(*row)

    def versions(self, model: str) -> list[ModelVersion]:
        """Newest first; empty when there is no such model."""
        with self._database.reading() as connection:
            rows = connection.execute(select(*_COLUMNS).where(table.c.model == model).order_by(table.c.version.desc()))
            return [ModelVersion(*row) for row in rows]

    def models(self) -> list[str]:
        with self._database.reading() as connection:
            return list(connection.execute(select(table.c.model).distinct().order_by(table.c.model)).scalars())

    def set_alias(self, model: str, alias: str, version: int | None, principal: str) -> None:
        """Moves an alias (None takes it away). Raises NotFound when there is no such version."""
        if version is not None:
            self.get(model, version)
        c = alias_changes.c
        with self._database.begin() as connection:
            self._database.serialize(connection, f"model/{model}")
            last = connection.execute(select(func.max(c.at)).where(c.model == model, c.alias == alias)).scalar()
            at = max(self._clock.now(), last or 0.0)  # a clock set back must not reorder history
            change = {"model": model, "alias": alias, "version": version, "principal": principal, "at": at}
            connection.execute(alias_changes.insert(), change)

    def aliases(self, model: str) -> dict[str, int]:
        c = alias_changes.c
        newest = select(func.max(c.seq)).where(c.model == model).group_by(c.alias)
        with self._database.reading() as connection:
            rows = connection.execute(select(c.alias, c.version).where(c.seq.in_(newest)).order_by(c.alias))
            return {row.alias: row.version for row in rows if row.version is not None}

    def alias_at(self, model: str, alias: str, at: float) -> int | None:
        """The version an alias named at a time; None when it named none."""
        c = alias_changes.c
        statement = select(c.version).where(c.model == model, c.alias == alias, c.at <= at).order_by(c.seq.desc()).limit(1)
        with self._database.reading() as connection:
            return connection.execute(statement).scalar()

    def set_state(self, model: str, version: int, state: str) -> None:
        """Raises NotFound."""
        with self._database.begin() as connection:
            statement = update(table).where(table.c.model == model, table.c.version == version).values(state=state)
            if not connection.execute(statement).rowcount:
                raise NotFound(f"model {model!r} has no version {version!r}")

    def record_live(self, deployment: str, versions: Sequence[Share], at: float | None = None) -> None:
        """What `deployment` serves from now (or `at`) on: (version, bundle digest, weight) each."""
        self._live.record(deployment, versions, at)

    def live_at(self, deployment: str, at: float) -> list[Share]:
        return self._live.at(deployment, at)

    def live_history(self, deployment: str) -> list[tuple[float, list[Share]]]:
        """(since when, what), oldest first."""
        return self._live.history(deployment)

    def _number(self, model: str, version: int | str) -> int:
        if isinstance(version, int):
            return version
        if version.isdigit():
            return int(version)
        versions = self.versions(model)
        if not versions:
            near = ", ".join(self.models()[:5]) or "none"
            raise NotFound(f"no model is called {model!r} (registered: {near})")
        aliases = self.aliases(model)
        if version in aliases:
            return aliases[version]
        if version == "latest":
            return versions[0].version
        raise NotFound(f"model {model!r} has no alias {version!r} (it has: {', '.join(aliases) or 'none'})")
