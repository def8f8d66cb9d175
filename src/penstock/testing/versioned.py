"""Echo engines that differ by version: each reads its settings from its own bundle, as real versions differ by their weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.testing.echo import EchoEngine

VERSIONED = "penstock.testing.versioned:VersionedEcho"


class VersionedEcho(EchoEngine):
    """`engine.json` in the bundle goes before the deployment's settings."""

    def __init__(self, bundle: Path, settings: Mapping[str, Any]) -> None:
        super().__init__(bundle, {**settings, **json.loads((bundle / "engine.json").read_bytes())})
