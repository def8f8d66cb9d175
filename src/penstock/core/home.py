"""Where state lies: `.penstock/` beside the pipeline file, or PENSTOCK_HOME; databases and artifacts may live elsewhere by URL."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """Folder of local state, and the two URLs (PENSTOCK_DATABASE, PENSTOCK_ARTIFACTS) that default to places inside it."""

    folder: Path
    database_url: str
    artifacts_url: str

    @classmethod
    def find(cls, beside: Path | None = None, environ: Mapping[str, str] | None = None) -> Home:
        """`beside` is the pipeline file's folder (default: the working directory)."""
        env = os.environ if environ is None else environ
        folder = Path(env.get("PENSTOCK_HOME") or (beside or Path.cwd()) / ".penstock").absolute()
        return cls(
            folder,
            env.get("PENSTOCK_DATABASE") or f"sqlite:///{folder / 'penstock.db'}",
            env.get("PENSTOCK_ARTIFACTS") or (folder / "artifacts").as_uri(),
        )

    @property
    def cache(self) -> Path:
        """Materialised artifacts; may be deleted at any time that nothing runs."""
        return self.folder / "cache"

    @property
    def jobs(self) -> Path:
        """Per job key: logs, scratch, result marker of the local platform."""
        return self.folder / "jobs"

    @property
    def replicas(self) -> Path:
        return self.folder / "replicas"

    @property
    def gateway(self) -> Path:
        """The gateway's snapshot, state, pid, log and records."""
        return self.folder / "gateway"
