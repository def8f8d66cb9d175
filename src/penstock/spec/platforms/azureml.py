"""`kind: azureml`: an Azure Machine Learning workspace. Credentials are those of Azure's default chain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock.spec.types import Record


class AzureMLPlatform(Record):
    kind: Literal["azureml"]
    subscription: str = Field(min_length=1)
    resource_group: str = Field(min_length=1)
    workspace: str = Field(min_length=1)
    region: str = Field(pattern=r"^[a-z]+\d?$", description="such as westeurope")
    image: str = Field(min_length=1, description="in Azure Container Registry, with Penstock in it")
    compute: str | None = Field(default=None, description="an existing compute cluster; default: serverless compute")
    identity: str | None = Field(default=None, description="resource id of the managed identity that jobs and endpoints run as")
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://", description="another address of the service, for an emulator")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
