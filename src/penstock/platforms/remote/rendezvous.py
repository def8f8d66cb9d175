"""Several machines that run one step together: which of them this is, and where they meet, by torchrun's variables (PET_*).

One process a machine is joined here, as `torch.distributed.init_process_group` expects it (`env://`). Not covered: several processes on a
machine, which a stage starts itself with torchrun, from the same variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """`rank` 0 leads: its outputs are the step's, its log is the step's log."""

    rank: int = 0
    nodes: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0


def node_of(environ: Mapping[str, str]) -> Node:
    """One machine alone where nothing is said. Azure ML says what `env://` reads itself, for one process a machine."""
    rank = environ.get("PET_NODE_RANK") or environ.get("RANK") or 0
    return Node(int(rank), int(environ.get("PET_NNODES") or environ.get("WORLD_SIZE") or 1))


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What `env://` reads; nothing for one machine alone, and nothing that is set already."""
    node = node_of(environ)
    if node.nodes == 1:
        return {}
    found = {
        "MASTER_ADDR": environ.get("PET_MASTER_ADDR", ""),
        "MASTER_PORT": environ.get("PET_MASTER_PORT", ""),
        "RANK": str(node.rank),
        "WORLD_SIZE": str(node.nodes),
        "LOCAL_RANK": "0",
    }
    return {name: value for name, value in found.items() if name not in environ}
