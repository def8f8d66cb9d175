"""The `platforms` section: where work runs, by name; one record a kind, told apart by `kind` (local where none is given)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from penstock.spec.platforms.azureml import AzureMLPlatform
from penstock.spec.platforms.kubernetes import KubernetesPlatform
from penstock.spec.platforms.local import LocalPlatform
from penstock.spec.platforms.sagemaker import SageMakerPlatform
from penstock.spec.platforms.vertex import VertexPlatform

__all__ = ["KINDS", "LocalPlatform", "Platform", "Platforms"]
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


def with_laptop(declared: dict[str, Platform]) -> dict[str, Platform]:
    """`laptop` is this machine, last of all, unless something else is declared by that name."""
    return declared if "laptop" in declared else {**declared, "laptop": LocalPlatform()}


Platforms = Annotated[dict[str, Platform], AfterValidator(with_laptop)]
