"""Penstock: a large language model's whole life from one file.

`Pipeline` and its sections build the same object as `penstock.yaml`; `plan` and `run` do what the commands do.
Everything is loaded when first asked for, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# OpenVINO and NNCF tell Google Analytics of their use unless this cannot be imported. What Penstock is used for is nobody else's business.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: an import of it raises ModuleNotFoundError

if TYPE_CHECKING:
    from penstock.control.api import plan as plan
    from penstock.control.api import run as run
    from penstock.control.batch import batch as batch
    from penstock.spec.load import load as load
    from penstock.spec.pipeline import Pipeline as Pipeline

_LAZY = {
    "Pipeline": "penstock.spec.pipeline",
    "load": "penstock.spec.load",
    "plan": "penstock.control.api",
    "run": "penstock.control.api",
    "batch": "penstock.control.batch",
}
__all__ = ["Pipeline", "__version__", "batch", "load", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")
