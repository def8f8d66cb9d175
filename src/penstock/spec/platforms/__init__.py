"""The `platforms` section: where work runs, by name; one record a kind, told apart by `kind` (local where none is given)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.spec.platforms.kubernetes import KubernetesPlatform
from penstock.spec.platforms.local import LocalPlatform
from penstock.spec.platforms.sagemaker import SageMakerPlatform
from penstock.spec.platforms.vertex import VertexPlatform

__all__ = ["KINDS", "LocalPlatform", "Platform", "laptop"]
KINDS = (LocalPlatform, KubernetesPlatform, SageMakerPlatform, VertexPlatform, AzureMLPlatform)


def _told(value: Any) -> Any:
    return {"kind": "local", **value} if isinstance(value, dict) and "kind" not in value else value


Platform = Annotated[
    Annotated[
        LocalPlatform | KubernetesPlatform | SageMakerPlatform | VertexPlatform | AzureMLPlatform,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_told),
]


def laptop() -> dict[str, Platform]:
    """What is declared where nothing is."""
    return {"laptop": LocalPlatform()}
