"""Where one deployed model answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Of one deployed model. `host`: of its dedicated endpoint, `plain`: without TLS. `digest`: of the bundle it serves."""

    host: str
    endpoint: str  # resource name
    deployed: str
    digest: str
    plain: bool = False

    def url(self, path: str) -> str:
        return f"{'http' if self.plain else 'https'}://{self.host}/v1/{self.endpoint}/deployedModels/{self.deployed}/invoke{path}"
