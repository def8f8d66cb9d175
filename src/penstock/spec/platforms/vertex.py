"""`kind: vertex`: Google Vertex AI, in one project and region. Credentials are Google's application default ones."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock.spec.types import Record


class VertexPlatform(Record):
    kind: Literal["vertex"]
    project: str = Field(min_length=1)
    region: str = Field(pattern=r"^[a-z]+-[a-z]+\d$", description="such as europe-west4")
    image: str = Field(min_length=1, description="in Artifact Registry, with Penstock in it")
    bucket: str | None = Field(default=None, pattern=r"^gs://", description="for what Vertex itself writes; default: the store's")
    service_account: str | None = Field(default=None, description="that jobs and endpoints run as")
    endpoint_url: str | None = Field(default=None, description="another address of the service, for an emulator")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
