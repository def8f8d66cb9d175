"""Where SageMaker says which machines run a job together: `input/config/resourceconfig.json` below /opt/ml, as torchrun's variables;
and where a job says there why it failed: `output/failure`, of which 1,024 characters become its FailureReason.

Source: SageMaker AI developer guide, "Distributed Training Configuration", "How Amazon SageMaker Signals Algorithm Success and Failure".
The first host by name leads.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

ROOT = "SAGEMAKER_BASE_DIR"  # as SageMaker's own toolkit calls it
PORT = 29400


def told_by_file(environ: Mapping[str, str]) -> dict[str, str]:
    """Nothing for one machine alone, or where there is no such file; what is set already stays."""
    try:
        value = json.loads((_root(environ) / "input" / "config" / "resourceconfig.json").read_bytes())
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


def say_failure(environ: Mapping[str, str], text: str) -> None:
    """Nothing happens elsewhere than on SageMaker. What was said before stays."""
    file = _root(environ) / "output" / "failure"
    if not (_root(environ) / "input" / "config").is_dir() or file.exists():
        return
    with contextlib.suppress(OSError):  # a courtesy: the failure stands in the artifact store
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text[:1024], encoding="utf-8")


def _root(environ: Mapping[str, str]) -> Path:
    return Path(environ.get(ROOT) or "/opt/ml")
