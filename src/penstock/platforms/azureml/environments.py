"""The image as versions of two environments: one for jobs, one that says how a deployment's container is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from penstock.core.digests import digest_json, hex_of
from penstock.platforms.azureml.arm import Arm, not_there

PORT, SCORE, HEALTH = 8080, "/score", "/healthz"
JOBS, SERVING = "penstock-jobs", "penstock-serving"


@dataclass(slots=True)
class Environments:
    """A version is named by its content and never changes; it costs nothing and stays."""

    arm: Arm
    _made: set[str] = field(default_factory=set)

    def of(self, name: str) -> str:
        """Resource id of the environment `name` with the image of the section, made where it is not there."""
        id_ = self.id_of(name)
        below = id_.removeprefix(f"{self.arm.workspace}/")
        if below not in self._made:
            if self.arm.call("GET", below, known=not_there) is None:
                self.arm.call("PUT", below, {"properties": self._properties(name)})
            self._made.add(below)
        return id_

    def id_of(self, name: str) -> str:
        return f"{self.arm.workspace}/environments/{name}/versions/{hex_of(digest_json(self._properties(name)))[:16]}"

    def _properties(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"image": self.arm.settings.image, "osType": "Linux"}
        if name == SERVING:
            health = {"port": PORT, "path": HEALTH}
            found["inferenceConfig"] = {
                "livenessRoute": health,
                "readinessRoute": health,
                "scoringRoute": {"port": PORT, "path": SCORE},
            }
        return found
