"""Where SageMaker says which machines run a job together: `input/config/resourceconfig.json` below /opt/ml, as torchrun's variables.

Source: SageMaker AI developer guide, "Distributed Training Configuration". The first host by name leads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

ROOT = "SAGEMAKER_BASE_DIR"  # as SageMaker's own toolkit calls it
PORT = 29400


def told_by_file(environ: Mapping[str, str]) -> dict[str, str]:
    """Nothing for one machine alone, or where there is no such file; what is set already stays."""
    try:
        value = json.loads((Path(environ.get(ROOT) or "/opt/ml") / "input" / "config" / "resourceconfig.json").read_bytes())
        hosts, mine = sorted(value["hosts"]), value["current_host"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    if len(hosts) < 2:
        return {}
    found = {
        "PET_NNODES": str(len(hosts)),
        "PET_NODE_RANK": str(hosts.index(mine)),
        "PET_MASTER_ADDR": hosts[0],
        "PET_MASTER_PORT": str(PORT),
    }
    return {name: text for name, text in found.items() if name not in environ}
