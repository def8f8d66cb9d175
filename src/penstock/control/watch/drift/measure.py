"""The measure `drift`: windows of so many requests of each version, held to the version's reference.

Signals carry the version; those of the version that gets most requests stand for the whole deployment too. A version without a stored
reference, and what no dataset says anything of, is compared with its own first windows.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from penstock.control.watch.contract import Happened, Watched
from penstock.control.watch.drift.flow import Flow
from penstock.control.watch.drift.rows import Budget, looked, rated
from penstock.control.watch.drift.state import dumped, loaded
from penstock.control.watch.drift.version import Version
from penstock.core.digests import digest_json
from penstock.core.errors import PenstockError
from penstock.monitoring.drift.files import read_reference
from penstock.monitoring.drift.standard import Asked, Reference, Stream, stream_of
from penstock.stages.reference.features import Looked
from penstock.stages.reference.vectors import Vectors, open_vectors
from penstock.store.registry import ModelVersion
from penstock.store.signals import Signal

log = logging.getLogger("penstock.watch.drift")
FACT = "reference.reference"  # of a version: digest of its reference
EMBEDDED_PER_S, READ_PER_S, SAVED_S = 20_000.0, 400_000.0, 20.0  # characters of texts; so many seconds' worth may be saved up
REMEMBERED, DECAY = 10_000, 0.999


class DriftMeasure:
    name = "drift"

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._asked = tuple(Asked.entry(entry) for entry in watched.monitor.drift)
        self._digest = digest_json([entry.model_dump(mode="json") for entry in watched.monitor.drift])
        self._opened: dict[str | None, Vectors] = {}
        self._versions = {name: self._version(name, version) for name, version in watched.versions.items()}
        self._recent: dict[str, float] = {}
        self._rated: dict[str, None] = {}

    def fold(self, happened: Happened) -> list[Signal]:
        found: list[Signal] = []
        for name, rows in self._by_version(happened).items():
            found += self._versions[name].take(rows)
        for name, rows in self._rated_by_version(happened).items():
            found += self._versions[name].rate(rows)
        main = max(self._recent, key=lambda name: (self._recent[name], name), default=None)
        whole = [replace(s, version="", evidence={**s.evidence, "version": s.version}) for s in found if s.version == main]
        return [*found, *whole]

    def state(self) -> bytes:
        return dumped(self._digest, {"recent": self._recent, "rated": list(self._rated)}, self._versions)

    def restore(self, state: bytes) -> None:
        fresh = {name: self._version(name, version) for name, version in self._watched.versions.items()}
        told = loaded(state, self._digest, fresh)
        self._versions = fresh
        self._recent = {name: float(count) for name, count in told["recent"].items() if name in fresh}
        self._rated = dict.fromkeys(told["rated"])

    def _by_version(self, happened: Happened) -> dict[str, list[Looked]]:
        rows: dict[str, list[Looked]] = {}
        for record in happened.records:
            name = str(record.get("version"))
            if name in self._versions and (row := looked(record, self._watched.task)) is not None:
                rows.setdefault(name, []).append(row)
                self._recent = {each: count * DECAY for each, count in self._recent.items()}
                self._recent[name] = self._recent.get(name, 0.0) + 1.0
        return rows

    def _rated_by_version(self, happened: Happened) -> dict[str, list[Looked]]:
        """Of each request what was said of it first."""
        rows: dict[str, list[Looked]] = {}
        for one in happened.rated:
            name = str(one.record.get("version"))
            row = rated(one.record, one.said, self._watched.task) if name in self._versions else None
            if row is not None and row.id not in self._rated:
                self._rated[row.id] = None
                rows.setdefault(name, []).append(row)
        while len(self._rated) > REMEMBERED:
            del self._rated[next(iter(self._rated))]
        return rows

    def _version(self, name: str, version: ModelVersion) -> Version:
        stored, vectors = self._reference(version)
        kept = set(stored.standards) if stored is not None else set()
        flows: dict[str, Flow] = {}
        streams: tuple[tuple[Stream, Reference | None], ...] = (("requests", stored), ("rated", stored), ("learned", None))
        for stream, reference in streams:
            asked = tuple(one for one in self._asked if stream_of(one, kept) == stream and self._can(one, vectors))
            if stream == "rated" and not {one.signal for one in asked} <= kept:
                reference = None
            flows[stream] = Flow(stream, asked, reference, learns=reference is None)
        per_s = EMBEDDED_PER_S if vectors is not None else READ_PER_S
        made = Version(self._watched.deployment, name, self._asked, stored, flows, Budget(per_s, per_s * SAVED_S), vectors)
        made.set_errors()
        return made

    def _can(self, one: Asked, vectors: Vectors | None) -> bool:
        return one.signal != "drift.embedding" or vectors is not None

    def _reference(self, version: ModelVersion) -> tuple[Reference | None, Vectors | None]:
        wants = any(one.signal == "drift.embedding" for one in self._asked)
        artifacts, digest = self._watched.store.artifacts, version.facts.get(FACT)
        if digest is None:
            return None, self._vectors(None) if wants else None
        try:
            found = read_reference(artifacts.materialize(digest))
        except PenstockError as error:
            log.error("the reference of %s version %s cannot be read (%s); it is learnt anew", version.model, version.version, error)
            return None, self._vectors(None) if wants else None
        found = _declared(found, self._asked)
        if not wants or "drift.embedding" not in found.standards:
            return found, self._vectors(None) if wants else None
        try:
            encoder = found.about.get("embedder", {}).get("digest")
            return found, self._vectors(encoder)
        except PenstockError as error:
            log.error("texts of %s cannot be embedded (%s); drift.embedding is not measured", self._watched.deployment, error)
            return found, None

    def _vectors(self, encoder: str | None) -> Vectors:
        if encoder not in self._opened:
            folder: Path | None = self._watched.store.artifacts.materialize(encoder) if encoder is not None else None
            self._opened[encoder] = open_vectors(folder, threads=1)
        return self._opened[encoder]


def _declared(reference: Reference, asked: Sequence[Asked]) -> Reference:
    """Only what is still asked for in the same way: a limit that was calibrated to another window or rate says nothing of this one."""
    now = set(asked)
    return replace(reference, standards={name: one for name, one in reference.standards.items() if one.asked in now})


def make(watched: Watched) -> DriftMeasure | None:
    return DriftMeasure(watched) if watched.monitor.drift else None
