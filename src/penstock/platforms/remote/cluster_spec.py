"""Where Vertex AI says which machines run a job together: CLUSTER_SPEC, as torchrun's variables.

Source: Vertex AI documentation, "Distributed training", format of CLUSTER_SPEC. The first worker of the first pool leads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

NAME = "CLUSTER_SPEC"


def told_by_cluster(environ: Mapping[str, str]) -> dict[str, str]:
    """Nothing for one machine alone, or where there is no such variable; what is set already stays."""
    try:
        value = json.loads(environ.get(NAME, ""))
        pools = {pool: list(hosts) for pool, hosts in value["cluster"].items()}
        mine, index = value["task"]["type"], int(value["task"]["index"])
        ranked = [(pool, at) for pool in sorted(pools) for at in range(len(pools[pool]))]
        host, _, port = pools[ranked[0][0]][0].rpartition(":")
    except (ValueError, KeyError, TypeError, IndexError):
        return {}
    if len(ranked) < 2:
        return {}
    found = {
        "PET_NNODES": str(len(ranked)),
        "PET_NODE_RANK": str(ranked.index((mine, index))),
        "PET_MASTER_ADDR": host,
        "PET_MASTER_PORT": port,
    }
    return {name: text for name, text in found.items() if name not in environ}
