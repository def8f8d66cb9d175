"""What a stage is handed while it runs: Inputs, Outputs and Context of stages/contract.py, over the artifact store and local folders."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.core.cpus import cores
from penstock.core.digests import hex_of
from penstock.core.errors import BadInput
from penstock.core.files import told_plainly
from penstock.platforms.code_path import importable
from penstock.platforms.configs import stage_named, validated
from penstock.platforms.external import verified
from penstock.platforms.log_lines import Emit
from penstock.stages.contract import ALONE, Metrics, Peers

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.platforms.contract import JobSpec
    from penstock.stages.contract import Stage
    from penstock.store.artifacts import Artifacts


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a job: takes what it says, knows whether it was asked to stop.

    `failed` is told of an error while the processes of the job still stand.
    """

    emit: Emit
    stopping: Callable[[], bool]
    failed: Callable[[BaseException], object] = lambda _: None


def folder_of(home: Home, key: str) -> Path:
    """Everything local about one key: lock, scratch, and a folder per attempt."""
    return home.jobs / hex_of(key)


@dataclass(slots=True)
class StoredInputs:
    """Nothing is fetched or verified before it is asked for."""

    job: JobSpec
    artifacts: Artifacts
    cache: Path
    _folders: dict[str, Path] = field(default_factory=dict)

    def digest(self, name: str) -> str:
        if name not in self.job.inputs:
            raise BadInput(f"step {self.job.step!r} has no input {name!r} (it has: {', '.join(self.job.inputs) or 'none'})")
        return self.job.inputs[name]

    def folder(self, name: str) -> Path:
        if name not in self._folders:
            self._folders[name] = self.artifacts.materialize(self.digest(name))
        return self._folders[name]

    def meta(self, name: str) -> Mapping[str, Any]:
        return self.artifacts.manifest(self.digest(name)).meta

    def external(self, digest: str) -> Path:
        if digest not in self.job.external:
            raise BadInput(f"step {self.job.step!r} was not given a place for {digest}")
        return verified(digest, self.job.external[digest], self.cache)


@dataclass(slots=True)
class Draft:
    """An output that is being written."""

    folder: Path
    kind: str
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class StagedOutputs:
    """Folders below `staging`; nothing is an artifact before `commit`."""

    staging: Path
    drafts: dict[str, Draft] = field(default_factory=dict)

    def folder(self, name: str, kind: str) -> Path:
        if name in self.drafts:
            if self.drafts[name].kind != kind:
                raise BadInput(f"output {name!r} is of kind {self.drafts[name].kind!r} and cannot be {kind!r} too")
            return self.drafts[name].folder
        folder = self.staging / name
        with told_plainly(folder):
            folder.mkdir(parents=True)
        self.drafts[name] = Draft(folder, kind)
        return folder

    def describe(self, name: str, **meta: Any) -> None:
        if name not in self.drafts:
            raise BadInput(f"output {name!r} was described before `folder({name!r}, kind)` made it")
        self.drafts[name].meta.update(meta)

    def commit(self, artifacts: Artifacts) -> dict[str, str]:
        """Name → artifact digest."""
        drafts = sorted(self.drafts.items())
        return {name: artifacts.commit(draft.folder, draft.kind, draft.meta, consume=True).digest for name, draft in drafts}


@dataclass(slots=True)
class JobContext:
    """Folders are made when first asked for: most steps need none."""

    scratch_place: Path
    threads: int
    emit: Emit
    stopping: Callable[[], bool]
    peers: Peers = ALONE

    @property
    def scratch(self) -> Path:
        return _made(self.scratch_place)

    def log(self, message: str) -> None:
        self.emit({"log": {"message": message, "at": time.time()}})

    def point(self, name: str, value: float, step: int) -> None:
        self.emit({"point": {"name": name, "value": float(value), "step": int(step), "at": time.time()}})

    def progress(self, done: float, total: float | None, unit: str, **facts: float) -> None:
        self.emit({"progress": {"done": done, "total": total, "unit": unit, "facts": facts, "at": time.time()}})


def run_stage(
    job: JobSpec, artifacts: Artifacts, home: Home, outputs: StagedOutputs, context: JobContext, stage: Stage[Any] | None = None
) -> Metrics:
    """`stage`: instead of the one that is named. Raises what the stage raises."""
    config = validated(job.stage, job.config)
    with importable(job.code_path):
        found: Metrics = (stage or stage_named(job.stage)).run(config, StoredInputs(job, artifacts, home.cache), outputs, context)
    return found


def _made(folder: Path) -> Path:
    with told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def threads_for(cpus: float | None) -> int:
    """CPU threads for a step: as many as it asked for, at most one for each core."""
    return max(1, min(cores(), round(cpus))) if cpus else cores()
