"""What a stage is handed, for tests: inputs from plain folders, outputs kept in folders, a context that records.

Any stage runs with these and nothing else: `run_stage(DataStage(), config, tmp_path, FolderInputs(externals=externals(file)))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from penstock.core.digests import digest_file, digest_folder
from penstock.core.errors import ArtifactMissing
from penstock.stages.contract import ALONE, Metrics, Peers, Stage

ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True, slots=True)
class FolderInputs:
    """`folders` maps input names to folders, `metas` to their meta, `externals` digests to files or folders outside the store."""

    folders: Mapping[str, Path] = field(default_factory=dict)
    metas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    externals: Mapping[str, Path] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        if name not in self.folders:
            raise ArtifactMissing(f"no input named {name!r}; there are {sorted(self.folders)}")
        return self.folders[name]

    def meta(self, name: str) -> Mapping[str, Any]:
        return self.metas.get(name, {})

    def digest(self, name: str) -> str:
        return digest_folder(self.folder(name))

    def external(self, digest: str) -> Path:
        if digest not in self.externals:
            raise ArtifactMissing(f"no external bytes {digest}; there are {sorted(self.externals)}")
        return self.externals[digest]


@dataclass(slots=True)
class FolderOutputs:
    """Keeps each output in `root/<name>`; `kinds` and `metas` hold what the stage said about it."""

    root: Path
    kinds: dict[str, str] = field(default_factory=dict)
    metas: dict[str, dict[str, Any]] = field(default_factory=dict)

    def folder(self, name: str, kind: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True)
        self.kinds[name] = kind
        return path

    def describe(self, name: str, **meta: Any) -> None:
        self.metas.setdefault(name, {}).update(meta)

    def as_inputs(self, externals: Mapping[str, Path] | None = None) -> FolderInputs:
        """What a next stage would be handed: every output under its own name."""
        return FolderInputs({name: self.root / name for name in self.kinds}, self.metas, externals or {})


@dataclass(frozen=True, slots=True)
class Progress:
    done: float
    total: float | None
    unit: str
    facts: Mapping[str, float]


@dataclass(slots=True)
class RecordingContext:
    """Remembers every log line, point and progress call. `stop_after` makes `stopping()` true from that many calls of it on."""

    root: Path
    threads: int = 1
    stop_after: int | None = None
    peers: Peers = ALONE
    logs: list[str] = field(default_factory=list)
    points: list[tuple[str, float, int]] = field(default_factory=list)
    progresses: list[Progress] = field(default_factory=list)
    asked: int = 0

    @property
    def scratch(self) -> Path:
        return self._made("scratch")

    def _made(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log(self, message: str) -> None:
        self.logs.append(message)

    def point(self, name: str, value: float, step: int) -> None:
        self.points.append((name, value, step))

    def progress(self, done: float, total: float | None, unit: str, **facts: float) -> None:
        self.progresses.append(Progress(done, total, unit, facts))

    def stopping(self) -> bool:
        self.asked += 1
        return self.stop_after is not None and self.asked > self.stop_after


@dataclass(frozen=True, slots=True)
class StageRun:
    metrics: Metrics
    outputs: FolderOutputs
    context: RecordingContext


def run_stage(stage: Stage[ConfigT], config: ConfigT, root: Path, inputs: FolderInputs | None = None, *, threads: int = 1) -> StageRun:
    """Runs `stage` with outputs in `root/outputs`, scratch in `root/context`. `root/outputs/<name>` must not exist yet."""
    outputs, context = FolderOutputs(root / "outputs"), RecordingContext(root / "context", threads)
    metrics = stage.run(config, inputs or FolderInputs(), outputs, context)
    return StageRun(metrics, outputs, context)


def externals(*paths: Path) -> dict[str, Path]:
    """The given files and folders by their digest, as `FolderInputs.externals` wants them."""
    return {(digest_folder(p) if p.is_dir() else digest_file(p)): p for p in paths}
