"""Data parallel: every process has the whole model and a share of each batch, and gradients are summed before the step.

So a step is that of the whole batch, whatever the number of processes (Li et al. 2020, "PyTorch Distributed", VLDB 13). Gradients lie in
one flat buffer already (weights.py), which one call sums. The order of a sum depends on rank and number alone: however the processes are
spread over machines, the same number of them gives the same bits.
Not covered: summing while the backward pass still runs, weights or optimizer split over processes (FSDP), processes of different devices.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from penstock.core.errors import StepFailed, StepTransient
from penstock.stages.contract import ALONE, Peers

LONGEST = datetime.timedelta(days=1)  # that others wait for the first, which evaluates; who is gone is noticed from outside
CPU = torch.device("cpu")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Team:
    """The processes of this training; alone, every call gives back what it was given. Raises StepTransient when one is gone."""

    peers: Peers = ALONE
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        return self.peers.leads

    def share(self, batch: Any) -> Any:
        """The rows of a batch (N, …) that are this process's; none where it has fewer rows than there are processes."""
        return batch if self.peers.size == 1 else batch[self.peers.rank :: self.peers.size]

    def seed(self, *parts: int) -> None:
        """Gives each process its own random numbers, by what is trained and by step, so that nothing of them has to be saved."""
        if self.peers.size > 1:
            torch.manual_seed(int(np.random.SeedSequence([*parts, self.peers.rank]).generate_state(1, np.uint64)[0]))

    def sum(self, tensor: torch.Tensor) -> None:
        """In place, over all processes."""
        if self.peers.size > 1:
            with _noticed():
                dist.all_reduce(tensor)

    def level(self, tensor: torch.Tensor) -> None:
        """In place, to what the first one has."""
        if self.peers.size > 1:
            with _noticed():
                dist.broadcast(tensor, src=0)

    def total(self, *values: float) -> list[float]:
        if self.peers.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        self.sum(tensor)
        found: list[float] = tensor.tolist()
        return found

    def told(self, value: T) -> T:
        """The first one's value (anything that pickles, and small)."""
        if self.peers.size == 1:
            return value
        held = [value]
        with _noticed():
            dist.broadcast_object_list(held, src=0, device=self.device)
        return held[0]

    def spread(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The first one's tensors, to all."""
        if self.peers.size == 1:
            return dict(tensors)
        found = {}
        for name, (shape, dtype) in self.told({name: (tuple(t.shape), t.dtype) for name, t in tensors.items()}).items():
            held = tensors[name].to(self.device) if self.leads else torch.empty(shape, dtype=dtype, device=self.device)
            self.level(held)
            found[name] = held
        return found

    def agree(self, digest: str, what: str) -> None:
        """Raises StepFailed, in all of them, where they do not all come with the same."""
        if self.total(float(self.told(digest) != digest))[0]:
            raise StepFailed(
                f"the processes that train together did not all settle on the same {what}",
                remedy="Give all nodes the same machine type and image.",
            )


@contextlib.contextmanager
def gathered(peers: Peers, device: torch.device) -> Iterator[Team]:
    """Meets the others by the variables that torchrun sets. After an error connections stay: why must be known before they break."""
    if peers.size > 1:
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with _noticed():
            dist.init_process_group(backend, "env://", LONGEST, peers.size, peers.rank)
    yield Team(peers, device)
    if peers.size > 1:
        dist.destroy_process_group()


@contextlib.contextmanager
def _noticed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo raises nothing more special
        raise StepTransient(f"another process of this training went away: {error}") from error
