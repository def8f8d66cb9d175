"""Google's messages without Google's clients: the packages' own `__init__` import those of every service, six CPU seconds of them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING

__all__ = ["dash", "v1", "v2", "v3"]


def messages(package: str) -> ModuleType:
    """`package`.types, imported with an empty package in place of `package`, which stays to be imported by whoever wants the clients."""
    types = f"{package}.types"
    if types not in sys.modules and package not in sys.modules:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        sys.modules[package] = importlib.util.module_from_spec(spec)
        try:
            importlib.import_module(types)
        finally:
            del sys.modules[package]
    return importlib.import_module(types)


if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import types as v1
    from google.cloud.logging_v2 import types as v2
    from google.cloud.monitoring_dashboard_v1 import types as dash
    from google.cloud.monitoring_v3 import types as v3
else:
    v1 = messages("google.cloud.aiplatform_v1")
    v2 = messages("google.cloud.logging_v2")
    v3 = messages("google.cloud.monitoring_v3")
    dash = messages("google.cloud.monitoring_dashboard_v1")
