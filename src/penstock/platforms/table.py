"""The platforms by kind: `PLATFORMS.load("local")` is a PlatformParts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from penstock.core.plugins import Row, Table
from penstock.platforms.contract import Endpoints, Jobs, JobSpec

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class PlatformParts(Protocol):
    """`settings` is the platform's section of the pipeline file, as JSON values."""

    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Jobs: ...

    def refuse(self, job: JobSpec) -> None:
        """Raises PlatformLacks, with the reason, for a job that this platform can never run. Called while planning."""
        ...

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Endpoints: ...


PLATFORMS = Table("platform", {"local": Row("penstock.platforms.local.platform:LOCAL")})
