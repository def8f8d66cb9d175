"""The platforms by kind: `PLATFORMS.load("local")` is a PlatformParts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from penstock.core.plugins import Row, Table
from penstock.platforms.batches import Batches
from penstock.platforms.captures import Captures
from penstock.platforms.contract import Endpoints, Jobs, JobSpec
from penstock.platforms.measures import Measures
from penstock.platforms.mirrors import Mirror
from penstock.platforms.quotes import Quote

if TYPE_CHECKING:
    from penstock.core.home import Home
    from penstock.store.artifacts import Artifacts


class PlatformParts(Protocol):
    """`settings` is the platform's section of the pipeline file, as JSON values."""

    def jobs(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Jobs: ...

    def quote(self, job: JobSpec, settings: Mapping[str, Any]) -> Quote:
        """Where the job would run and what an hour of that costs. Asks nobody. Raises PlatformLacks for what can never run there."""
        ...

    def endpoints(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Endpoints: ...

    def batches(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Batches:
        """The vendor's own service for batches. Raises PlatformLacks where there is none."""
        ...

    def measures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Measures | None:
        """The metrics service beside the platform; None where there is none, or the section does not ask for it."""
        ...

    def mirror(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Mirror | None:
        """The registry of models beside the platform; None where there is none, or the section does not ask for it."""
        ...

    def captures(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Captures | None:
        """What the platform keeps of requests that went to an endpoint directly; None where nothing, or the section does not ask for it."""
        ...

    def serving(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """What a deployment there would ask for, in the vendor's own terms. Asks nobody. Raises PlatformLacks for what can never be."""
        ...

    def left(self, home: Home, artifacts: Artifacts, settings: Mapping[str, Any]) -> Sequence[str]:
        """Names of everything of this home that is there and may cost something: jobs that run, endpoints, what belongs to them."""
        ...


PLATFORMS = Table(
    "platform",
    {
        "local": Row("penstock.platforms.local.platform:LOCAL"),
        "kubernetes": Row("penstock.platforms.kubernetes.platform:KUBERNETES", "kubernetes"),
        "azureml": Row("penstock.platforms.azureml.platform:AZUREML", "azure"),
        "sagemaker": Row("penstock.platforms.sagemaker.platform:SAGEMAKER", "sagemaker"),
        "vertex": Row("penstock.platforms.vertex.platform:VERTEX", "vertex"),
    },
)
