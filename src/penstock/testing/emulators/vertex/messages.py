"""Google's messages without Google's clients: the packages' own `__init__` import those of every service."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["dash", "v1", "v2", "v3"]


def messages(package: str) -> ModuleType:
    """`package`.types, without the rest of `package`, which is loaded when something of it is first asked for."""
    if package not in sys.modules:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        sys.modules[package] = module = importlib.util.module_from_spec(spec)
        module.__getattr__ = functools.partial(_whole, module)  # type: ignore[method-assign]
    return importlib.import_module(f"{package}.types")


def _whole(module: ModuleType, name: str) -> Any:
    """A module below it is found by the import that asks for it."""
    if importlib.util.find_spec(f"{module.__name__}.{name}") is not None:
        raise AttributeError(name)
    module.__dict__.pop("__getattr__", None)
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    module.__spec__.loader.exec_module(module)
    return getattr(module, name)


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
