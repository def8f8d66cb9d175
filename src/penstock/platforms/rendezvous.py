"""Machines, and processes on each of them, that run one step together: which of them this is, and where they meet.

Machines are told by torchrun's variables (PET_*); a process finds those that torchrun itself would set, as `init_process_group` and all
launchers' scripts expect them (`env://`, https://docs.pytorch.org/docs/stable/elastic/run.html).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.stages.contract import Peers


@dataclass(frozen=True, slots=True)
class Node:
    """A machine. `rank` 0 leads: its outputs are the step's, its log is the step's log."""

    rank: int = 0
    nodes: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def peers(self, processes: int, local: int = 0) -> Peers:
        """Process `local` of this machine, of so many on each."""
        return Peers(self.rank * processes + local, self.nodes * processes, local)


def node_of(environ: Mapping[str, str]) -> Node:
    """One machine alone where nothing is said. Azure ML says what `env://` reads itself, for one process a machine."""
    rank = environ.get("PET_NODE_RANK") or environ.get("RANK") or 0
    return Node(int(rank), int(environ.get("PET_NNODES") or environ.get("WORLD_SIZE") or 1))


def place_of(node: Node, environ: Mapping[str, str]) -> tuple[str, str]:
    """(address, port) where all processes meet: the first machine's; of one machine alone, a port that is free now."""
    if node.nodes > 1:
        address, port = (environ.get(f"PET_{name}") or environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
        return address, port
    with socket.create_server(("127.0.0.1", 0)) as server:
        return "127.0.0.1", str(server.getsockname()[1])


def variables(node: Node, place: tuple[str, str], processes: int = 1, local: int = 0) -> dict[str, str]:
    """What `env://` reads, and what else torchrun says to a process."""
    peers = node.peers(processes, local)
    return {
        "MASTER_ADDR": place[0],
        "MASTER_PORT": place[1],
        "RANK": str(peers.rank),
        "WORLD_SIZE": str(peers.size),
        "LOCAL_RANK": str(local),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": str(node.rank),
    }
