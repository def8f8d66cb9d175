"""`kind: sagemaker`: AWS SageMaker AI, in one account and region. Credentials come from AWS's own chain."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock.spec.types import Record


class SageMakerPlatform(Record):
    kind: Literal["sagemaker"]
    region: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="such as eu-west-1")
    role: str = Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/", description="that jobs and endpoints run as")
    image: str = Field(min_length=1, description="in ECR, with Penstock in it")
    bucket: str | None = Field(default=None, pattern=r"^s3://", description="for what SageMaker itself writes; default: the store's")
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://", description="another address of the service, for an emulator")
    environment: dict[str, str] = Field(default_factory=dict, description="variables of jobs and replicas; no secrets")
