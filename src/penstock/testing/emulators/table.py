"""The emulators by the kind of platform: `with EMULATORS.load(kind)(folder) as emulated`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from penstock.core.plugins import Row, Table


@dataclass(frozen=True, slots=True)
class Emulated:
    """`section`: of a pipeline file's `platforms`, that leads to the emulator; `environment`: what commands need to find it beside."""

    section: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


class Emulator(Protocol):
    def __call__(self, folder: Path, store: Path) -> AbstractContextManager[Emulated]:
        """`folder`: for what it keeps; `store`: a folder of this machine that the artifact store lies in."""
        ...


EMULATORS = Table(
    "emulator",
    {
        "azureml": Row("penstock.testing.emulators.azure.cloud:emulated"),
        "kubernetes": Row("penstock.testing.emulators.kubernetes.cluster:emulated"),
        "sagemaker": Row("penstock.testing.emulators.sagemaker.cloud:emulated"),
        "vertex": Row("penstock.testing.emulators.vertex.cloud:emulated"),
    },
)
