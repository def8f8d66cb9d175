"""The store as one object: open it by the home's URLs, or in memory."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

from penstock.core.clock import Clock, SystemClock
from penstock.core.files import told_plainly
from penstock.core.home import Home
from penstock.store.artifacts import Artifacts
from penstock.store.audit import Audit
from penstock.store.builds import Builds
from penstock.store.database import Database
from penstock.store.events import Events
from penstock.store.keys import Keys
from penstock.store.points import Points
from penstock.store.registry import Registry
from penstock.store.resources import Resources
from penstock.store.signals import Signals


@dataclass(weakref_slot=True, slots=True)
class Store:
    database: Database
    resources: Resources
    events: Events
    builds: Builds
    registry: Registry
    points: Points
    signals: Signals
    keys: Keys
    audit: Audit
    artifacts: Artifacts
    clock: Clock

    @classmethod
    def open(cls, home: Home, clock: Clock | None = None) -> Store:
        """Makes folders and tables that are not there, migrates older ones. Raises DatabaseVersion, DatabaseUnavailable, ReadOnly."""
        with told_plainly(home.folder):
            home.folder.mkdir(parents=True, exist_ok=True)
        clock = clock or SystemClock()
        return cls.of(Database(home.database_url, clock), Artifacts(home.artifacts_url, home.cache), clock)

    @classmethod
    def memory(cls, clock: Clock | None = None) -> Store:
        """The twin for tests: SQLite in memory, artifacts in a temporary folder that goes with the store."""
        clock = clock or SystemClock()
        folder = Path(tempfile.mkdtemp(prefix="penstock-"))
        store = cls.of(Database("sqlite://", clock), Artifacts((folder / "artifacts").as_uri(), folder / "cache"), clock)
        weakref.finalize(store, shutil.rmtree, folder, ignore_errors=True)
        return store

    @classmethod
    def of(cls, database: Database, artifacts: Artifacts, clock: Clock) -> Store:
        return cls(
            database,
            Resources(database, clock),
            Events(database, clock),
            Builds(database, clock),
            Registry(database, clock),
            Points(database),
            Signals(database),
            Keys(database, clock),
            Audit(database, clock),
            artifacts,
            clock,
        )

    def close(self) -> None:
        self.database.close()
